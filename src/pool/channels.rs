//! Who listens to what in one pool, and how far the server that listens for all of them has come.
//!
//! Sans-IO: `W` is whoever waits until its channels are listened to. Invariant: a channel that has
//! members is listened to or about to be; notifications reach members only by their own channels.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxBuildHasher;

use crate::registry::{Mailbox, Notice};
use crate::session::inbox::{Inbox, News};
use crate::session::listening::{CUT, Channels, Joined, notification};

/// Names a member for as long as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MemberId(pub(super) u64);

/// Where a client that listens is told.
#[derive(Debug, Clone)]
pub struct Ear {
    /// What it is told.
    pub inbox: Arc<Inbox>,
    /// How its task wakes.
    pub mailbox: Arc<Mailbox>,
}

/// One statement's worth of work for the server.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Batch {
    pub(super) listen: Vec<Box<[u8]>>,
    pub(super) unlisten: Vec<Box<[u8]>>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Table<W> {
    members: BTreeMap<MemberId, Member<W>>,
    topics: HashMap<Box<[u8]>, Topic, FxBuildHasher>,
    /// Topics whose state is to be changed on the server.
    changed: BTreeSet<Box<[u8]>>,
    line: Line,
}

#[derive(Debug)]
struct Member<W> {
    ear: Ear,
    channels: BTreeMap<Box<[u8]>, Standing>,
    /// It is a member up to the cut with this number.
    until: Option<u64>,
    waiting: Option<(W, Joined)>,
}

/// Whether a member hears a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Hears,
    /// From the cut with this number on.
    From(u64),
}

#[derive(Debug, Default)]
struct Topic {
    members: BTreeSet<MemberId>,
    state: State,
}

/// Of one channel, on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Silent,
    /// LISTEN was sent.
    Asked,
    Heard,
    /// UNLISTEN was sent.
    Leaving,
}

/// The server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// There was none yet, or it listens.
    Whole,
    /// It was lost, and members do not know yet that there is another.
    Broken,
}

impl<W> Default for Table<W> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            topics: HashMap::default(),
            changed: BTreeSet::new(),
            line: Line::Whole,
        }
    }
}

impl<W> Table<W> {
    /// Nobody listens.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member listens to just these channels from now on. New ones it hears from the cut on. Gives the
    /// waiter back with what to tell it if the server listens to all of them already.
    pub(super) fn join(
        &mut self,
        id: MemberId,
        ear: Ear,
        channels: &Channels,
        cut: u64,
        waiter: W,
    ) -> Option<(W, Joined)> {
        let member = self.members.entry(id).or_insert_with(|| Member {
            ear,
            channels: BTreeMap::new(),
            until: None,
            waiting: None,
        });
        member.until = None;
        let gone: Vec<_> =
            member.channels.keys().filter(|name| !channels.contains(*name)).cloned().collect();
        member.channels.retain(|name, _| channels.contains(name));
        let mut joined = Joined::Already;
        for name in channels {
            match member.channels.entry(name.clone()) {
                // Its earlier cut was never seen.
                Entry::Occupied(mut known) => *known.get_mut() = Standing::Hears,
                Entry::Vacant(free) => {
                    free.insert(Standing::From(cut));
                    joined = Joined::From(cut);
                }
            }
        }
        member.waiting = Some((waiter, joined));
        for name in gone {
            self.part(id, name);
        }
        for name in channels {
            let topic = self.topics.entry(name.clone()).or_default();
            topic.members.insert(id);
            self.note(name.clone());
        }
        self.settled(id)
    }

    /// A member is gone.
    pub(super) fn leave(&mut self, id: MemberId) {
        let Some(member) = self.members.remove(&id) else { return };
        for name in member.channels.into_keys() {
            self.part(id, name);
        }
    }

    /// A member listens by itself, and is told only what stands before the cut. False if that cannot be
    /// known: then it is a member no more.
    pub(super) fn leave_at(&mut self, id: MemberId, cut: u64) -> bool {
        let whole = self.line == Line::Whole;
        match self.members.get_mut(&id) {
            Some(member) if whole && member.waiting.is_none() => {
                member.until = Some(cut);
                true
            }
            _ => {
                self.leave(id);
                false
            }
        }
    }

    /// Those who wait are refused, and are members no more.
    pub(super) fn refuse_waiting(&mut self) -> Vec<W> {
        let waiting = self.members.iter().filter(|(_, member)| member.waiting.is_some());
        let ids: Vec<_> = waiting.map(|(id, _)| *id).collect();
        let mut refused = Vec::new();
        for id in ids {
            let waiting = self.members.get_mut(&id).and_then(|member| member.waiting.take());
            refused.extend(waiting.map(|(waiter, _)| waiter));
            self.leave(id);
        }
        refused
    }

    /// What the server must be told now; one batch at a time.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.listen.len() + batch.unlisten.len() < MAX_BATCH
            && let Some(name) = self.changed.pop_first()
        {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            match (topic.state, topic.members.is_empty()) {
                (State::Silent, false) => {
                    topic.state = State::Asked;
                    batch.listen.push(name);
                }
                (State::Heard, true) => {
                    topic.state = State::Leaving;
                    batch.unlisten.push(name);
                }
                (State::Silent, true) => drop(self.topics.remove(&name)),
                (State::Heard, false) | (State::Asked | State::Leaving, _) => {}
            }
        }
        (batch != Batch::default()).then_some(batch)
    }

    /// The server has done a batch. Gives those who need not wait any more.
    pub(super) fn on_done(&mut self, batch: &Batch) -> Vec<(W, Joined)> {
        for name in &batch.listen {
            self.set(name, State::Heard);
        }
        for name in &batch.unlisten {
            self.set(name, State::Silent);
        }
        if self.line == Line::Broken && self.changed.is_empty() {
            self.on_back();
        }
        let ids: Vec<_> = self.members.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.settled(id)).collect()
    }

    /// The server has told of a notification.
    pub(super) fn on_notification(&mut self, body: &Bytes) {
        let Some((channel, payload)) = notification(body) else { return };
        if channel == CUT.as_bytes() {
            let cut = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
            return cut.into_iter().for_each(|cut| self.on_cut(cut));
        }
        let Some(topic) = self.topics.get(channel) else { return };
        for id in &topic.members {
            let Some(member) = self.members.get(id) else { continue };
            if member.channels.get(channel) == Some(&Standing::Hears) {
                member.ear.tell(News::Heard(body.clone()));
            }
        }
    }

    /// The server is lost, and with it what it listened to.
    pub(super) fn on_lost(&mut self) {
        self.line = Line::Broken;
        for topic in self.topics.values_mut() {
            topic.state = State::Silent;
        }
        self.changed = self.topics.keys().cloned().collect();
        for member in self.members.values() {
            member.ear.tell(News::Lost);
        }
        let leaving = self.members.iter().filter(|(_, member)| member.until.is_some());
        for id in leaving.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.leave(id);
        }
    }

    /// There is a server again, which listens to everything. Nobody knows which cuts were missed.
    fn on_back(&mut self) {
        self.line = Line::Whole;
        for member in self.members.values_mut().filter(|member| member.waiting.is_none()) {
            member.channels.values_mut().for_each(|standing| *standing = Standing::Hears);
            member.ear.tell(News::Back);
        }
    }

    fn on_cut(&mut self, cut: u64) {
        let leaving = self.members.iter().find(|(_, member)| member.until == Some(cut));
        if let Some((id, member)) = leaving {
            member.ear.tell(News::Cut(cut));
            return self.leave(*id);
        }
        let from = Standing::From(cut);
        let member = self.members.values_mut().find(|m| m.channels.values().any(|s| *s == from));
        let Some(member) = member else { return };
        for standing in member.channels.values_mut().filter(|standing| **standing == from) {
            *standing = Standing::Hears;
        }
    }

    fn part(&mut self, id: MemberId, name: Box<[u8]>) {
        if let Some(topic) = self.topics.get_mut(&name) {
            topic.members.remove(&id);
            self.note(name);
        }
    }

    fn note(&mut self, name: Box<[u8]>) {
        let Some(topic) = self.topics.get(&name) else { return };
        let wanted = !topic.members.is_empty();
        if wanted != (topic.state == State::Heard) {
            self.changed.insert(name);
        }
    }

    fn set(&mut self, name: &[u8], state: State) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.state = state;
            self.note(name.into());
            if state == State::Silent && self.topics.get(name).is_some_and(Topic::is_unwanted) {
                self.topics.remove(name);
                self.changed.remove(name);
            }
        }
    }

    /// Who waits need not any more if all its channels are listened to.
    fn settled(&mut self, id: MemberId) -> Option<(W, Joined)> {
        let member = self.members.get_mut(&id)?;
        member.waiting.as_ref()?;
        let mut topics = member.channels.keys().map(|name| self.topics.get(name));
        let heard = topics.all(|topic| topic.is_some_and(|topic| topic.state == State::Heard));
        if heard { member.waiting.take() } else { None }
    }
}

impl Topic {
    fn is_unwanted(&self) -> bool {
        self.members.is_empty()
    }
}

impl Ear {
    fn tell(&self, news: News) {
        self.inbox.push(news);
        self.mailbox.tell(Notice::News);
    }
}

/// Channels of one batch.
const MAX_BATCH: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        table: Table<&'static str>,
        ears: Vec<Ear>,
    }

    impl Scene {
        fn new(members: usize) -> Self {
            let ear = |_| Ear { inbox: Arc::default(), mailbox: Arc::default() };
            Self { table: Table::default(), ears: (0..members).map(ear).collect() }
        }

        fn join(&mut self, id: usize, names: &str, cut: u64) -> Option<Joined> {
            let channels = names.split_whitespace().map(|name| name.as_bytes().into()).collect();
            let (ear, id) = (self.ears[id].clone(), MemberId(id as u64));
            self.table.join(id, ear, &channels, cut, "waiter").map(|(_, joined)| joined)
        }

        /// Does all there is to do; what the server was told, and who need not wait any more.
        fn work(&mut self) -> (String, Vec<Joined>) {
            let (mut told, mut joined) = (Vec::new(), Vec::new());
            while let Some(batch) = self.table.next_batch() {
                for (sign, names) in [('+', &batch.listen), ('-', &batch.unlisten)] {
                    let text = |name| format!("{sign}{}", String::from_utf8_lossy(name));
                    told.extend(names.iter().map(|name| text(name)));
                }
                joined.extend(self.table.on_done(&batch).into_iter().map(|(_, joined)| joined));
            }
            (told.join(" "), joined)
        }

        fn notify(&mut self, channel: &str, payload: &str) {
            let body = format!("\0\0\0\u{1}{channel}\0{payload}\0").into_bytes();
            self.table.on_notification(&body.into());
        }

        fn heard(&self, id: usize) -> String {
            let news = self.ears[id].inbox.take().unwrap();
            let show = |news: &News| match news {
                News::Heard(body) => {
                    let (channel, payload) = notification(body).unwrap();
                    [channel, payload].map(String::from_utf8_lossy).join("=")
                }
                other => format!("{other:?}"),
            };
            news.iter().map(show).collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn a_channel_is_listened_to_once_and_heard_from_the_cut_on_by_its_members_only() {
        let mut scene = Scene::new(3);
        assert_eq!(scene.join(0, "a b", 7), None);
        assert_eq!(scene.work(), ("+a +b".into(), vec![Joined::From(7)]));
        scene.notify("a", "early");
        scene.notify(CUT, "8");
        scene.notify(CUT, "7");
        scene.notify("a", "1");
        assert_eq!(scene.join(1, "a", 9), Some(Joined::From(9)));
        scene.notify("a", "2");
        scene.notify(CUT, "9");
        scene.notify("a", "3");
        assert_eq!(scene.work(), (String::new(), vec![]));
        assert_eq!(scene.heard(0), "a=1 a=2 a=3");
        assert_eq!(scene.heard(1), "a=3");
        assert_eq!(scene.heard(2), "");
    }

    #[test]
    fn what_nobody_listens_to_any_more_is_left() {
        let mut scene = Scene::new(2);
        scene.join(0, "a b", 1);
        scene.join(1, "b", 2);
        scene.work();
        assert_eq!(scene.join(0, "b", 3), Some(Joined::Already));
        assert_eq!(scene.work().0, "-a");
        scene.table.leave(MemberId(1));
        assert_eq!(scene.work().0, "");
        scene.table.leave(MemberId(0));
        assert!(scene.table.is_empty());
        assert_eq!(scene.work().0, "-b");
        assert!(scene.table.topics.is_empty() && scene.table.changed.is_empty());
    }

    #[test]
    fn who_joins_while_the_channel_is_being_left_waits_for_it_anew() {
        let mut scene = Scene::new(2);
        scene.join(0, "a", 1);
        scene.work();
        scene.table.leave(MemberId(0));
        let batch = scene.table.next_batch().unwrap();
        assert_eq!(scene.join(1, "a", 2), None);
        assert!(scene.table.on_done(&batch).is_empty());
        assert_eq!(scene.work(), ("+a".into(), vec![Joined::From(2)]));
    }

    #[test]
    fn who_leaves_while_the_channel_is_being_joined_is_forgotten() {
        let mut scene = Scene::new(1);
        scene.join(0, "a", 1);
        let batch = scene.table.next_batch().unwrap();
        scene.table.leave(MemberId(0));
        assert!(scene.table.on_done(&batch).is_empty());
        assert_eq!(scene.work().0, "-a");
        assert!(scene.table.topics.is_empty());
    }

    #[test]
    fn a_lost_server_is_told_of_once_and_replaced_in_whole() {
        let mut scene = Scene::new(3);
        scene.join(0, "a b", 1);
        scene.join(1, "b", 2);
        scene.work();
        // The cuts of both were not seen.
        scene.table.on_lost();
        assert_eq!(scene.join(2, "b", 3), None);
        scene.table.on_lost();
        assert_eq!(scene.work(), ("+a +b".into(), vec![Joined::From(3)]));
        scene.notify("b", "1");
        assert_eq!(scene.heard(0), "Lost Lost Back b=1");
        assert_eq!(scene.heard(1), "Lost Lost Back b=1");
        assert_eq!(scene.heard(2), "Lost");
    }

    #[test]
    fn who_waits_in_vain_is_no_member() {
        let mut scene = Scene::new(2);
        scene.join(0, "a", 1);
        scene.work();
        scene.join(1, "b", 2);
        assert_eq!(scene.table.refuse_waiting(), ["waiter"]);
        scene.notify("b", "1");
        assert_eq!(scene.heard(1), "");
        assert_eq!(scene.work().0, "");
        assert_eq!(scene.table.members.len(), 1);
    }

    #[test]
    fn who_leaves_at_a_cut_is_told_what_stands_before_it() {
        let mut scene = Scene::new(2);
        scene.join(0, "a", 1);
        scene.join(1, "a", 2);
        scene.work();
        scene.notify(CUT, "1");
        scene.notify(CUT, "2");
        assert!(scene.table.leave_at(MemberId(0), 7));
        scene.notify("a", "before");
        scene.notify(CUT, "7");
        scene.notify("a", "behind");
        assert_eq!(scene.heard(0), "a=before Cut(7)");
        assert_eq!(scene.heard(1), "a=before a=behind");
        assert!(scene.table.leave_at(MemberId(1), 8));
        scene.table.on_lost();
        assert_eq!(scene.heard(1), "Lost");
        assert!(scene.table.is_empty());
        assert!(!scene.table.leave_at(MemberId(1), 9));
    }

    #[test]
    fn a_cut_that_was_missed_is_made_up_for_by_joining_again() {
        let mut scene = Scene::new(1);
        scene.join(0, "a", 1);
        scene.work();
        assert_eq!(scene.join(0, "a", 2), Some(Joined::Already));
        scene.notify("a", "1");
        assert_eq!(scene.heard(0), "a=1");
    }
}
