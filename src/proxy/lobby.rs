//! Connections that have not logged in yet: how many there may be, in all and from one address.
//!
//! When there are too many, the one that has been there longest without saying what it wants gives way, or who has said
//! so and has owed an answer for long, or has failed and is kept back: else a few hosts that connect and say no more, or
//! guess, would shut everybody out for as long as a login may take.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::client::guest::Guest;
use crate::clock::Instant;

/// How many there may be; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LobbyLimits {
    /// In all.
    pub(super) total: usize,
    /// From one address.
    pub(super) source: usize,
}

/// Those who have not logged in.
#[derive(Debug, Default)]
pub(super) struct Lobby(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    limits: LobbyLimits,
    total: usize,
    sources: HashMap<IpAddr, usize>,
    /// Oldest first; those who have left are dropped as they are met, and those who have said what they want go to
    /// the others.
    silent: VecDeque<Weak<Guest>>,
    /// Those of them who have, oldest first.
    heard: VecDeque<Weak<Guest>>,
}

/// A place in the lobby; dropped, it is free.
#[derive(Debug)]
pub(super) struct Waiting {
    lobby: Arc<Lobby>,
    source: Option<IpAddr>,
    /// Whom it is for.
    pub(super) guest: Arc<Guest>,
}

impl Lobby {
    pub(super) fn set_limits(&self, limits: LobbyLimits) {
        self.lock().limits = limits;
    }

    /// Takes a place for one who has just come; `None` if there are too many, of whom none can be sent away. `full`: there
    /// are, with those who are logged in, whatever the limit is.
    pub(super) fn enter(self: &Arc<Self>, source: Option<IpAddr>, full: bool) -> Option<Waiting> {
        let mut state = self.lock();
        let of_source = source.and_then(|ip| state.sources.get(&ip).copied()).unwrap_or(0);
        if state.limits.source > 0 && of_source >= state.limits.source {
            return None;
        }
        if full || state.limits.total > 0 && state.total >= state.limits.total {
            // It leaves its place by itself, in a moment.
            let failed = state.oldest_heard(Guest::is_refused);
            let gone = failed
                .or_else(|| state.oldest_silent())
                .or_else(|| state.oldest_heard(|there| is_late(there, Instant::now())));
            gone?.displace();
        }
        let guest = Arc::<Guest>::default();
        state.total += 1;
        if let Some(ip) = source {
            *state.sources.entry(ip).or_insert(0) += 1;
        }
        // One who is silent must not keep those behind it, who have left, from being dropped.
        let most = 2 * state.total + FEW;
        if state.silent.len() > most {
            state.silent.retain(is_there);
        }
        if state.heard.len() > most {
            state.heard.retain(is_there);
        }
        state.silent.push_back(Arc::downgrade(&guest));
        Some(Waiting { lobby: Arc::clone(self), source, guest })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One who has said nothing, or has failed since it was last looked at.
    fn oldest_silent(&mut self) -> Option<Arc<Guest>> {
        while let Some(guest) = self.silent.pop_front() {
            match guest.upgrade() {
                Some(there) if there.was_heard() && !there.is_refused() => {
                    self.heard.push_back(guest);
                }
                Some(there) => return Some(there),
                None => {}
            }
        }
        None
    }

    /// Such a one among the oldest few who have said what they want. The others go to the end.
    fn oldest_heard(&mut self, is_it: impl Fn(&Guest) -> bool) -> Option<Arc<Guest>> {
        for _ in 0..FEW {
            let guest = self.heard.pop_front()?;
            let Some(there) = guest.upgrade() else { continue };
            if is_it(&there) {
                return Some(there);
            }
            self.heard.push_back(guest);
        }
        None
    }
}

/// An answer takes one round trip.
const LATE: Duration = Duration::from_secs(3);

/// What is not worth looking through.
const FEW: usize = 64;

/// It has owed an answer for so long that it is not to be expected.
fn is_late(guest: &Guest, now: Instant) -> bool {
    guest.asked_since().is_some_and(|since| now.saturating_duration_since(since) >= LATE)
}

fn is_there(guest: &Weak<Guest>) -> bool {
    guest.strong_count() > 0
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.lobby.lock();
        state.total -= 1;
        if let Some(ip) = self.source
            && let Some(count) = state.sources.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                state.sources.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lobby(total: usize, source: usize) -> Arc<Lobby> {
        let lobby = Arc::<Lobby>::default();
        lobby.set_limits(LobbyLimits { total, source });
        lobby
    }

    #[test]
    fn the_oldest_who_has_said_nothing_gives_way() {
        let lobby = lobby(3, 0);
        let there: Vec<_> = (0..3).map(|_| lobby.enter(None, false).unwrap()).collect();
        there[0].guest.hear();
        let fourth = lobby.enter(None, false).unwrap();
        let displaced: Vec<_> = there.iter().map(|one| one.guest.is_displaced()).collect();
        assert_eq!(displaced, [false, true, false]);
        for one in there.iter().chain([&fourth]) {
            one.guest.hear();
        }
        assert!(lobby.enter(None, false).is_none(), "all have said what they want");
        there[2].guest.ask(true);
        let late = Instant::now() + LATE;
        let slow = lobby.lock().oldest_heard(|there| is_late(there, late)).unwrap();
        assert!(Arc::ptr_eq(&slow, &there[2].guest), "it does not answer");
        there[2].guest.ask(false);
        assert!(lobby.lock().oldest_heard(|there| is_late(there, late)).is_none());
        there[0].guest.refuse();
        let failed = lobby.lock().oldest_heard(Guest::is_refused).unwrap();
        assert!(Arc::ptr_eq(&failed, &there[0].guest), "it only waits for its refusal");
        drop((slow, failed));
        drop((there, fourth));
        assert!(lobby.enter(None, false).is_some());
    }

    #[test]
    fn who_is_silent_gives_way_where_there_is_no_room_for_as_many_as_the_limit_says() {
        let lobby = lobby(100, 0);
        assert!(lobby.enter(None, true).is_none(), "all who are there are logged in");
        let silent = lobby.enter(None, false).unwrap();
        let _other = lobby.enter(None, true).unwrap();
        assert!(silent.guest.is_displaced());
    }

    #[test]
    fn those_who_have_left_do_not_pile_up_behind_one_who_is_silent() {
        let lobby = lobby(0, 0);
        let silent = lobby.enter(None, false).unwrap();
        for _ in 0..10_000 {
            drop(lobby.enter(None, false).unwrap());
        }
        assert!(lobby.lock().silent.len() <= FEW + 4);
        drop(silent);
    }

    #[test]
    fn one_address_has_no_more_than_its_part() {
        let lobby = lobby(0, 2);
        let (one, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let held = [lobby.enter(one, false).unwrap(), lobby.enter(one, false).unwrap()];
        assert!(lobby.enter(one, false).is_none());
        let also = [lobby.enter(other, false).unwrap(), lobby.enter(None, false).unwrap()];
        drop((held, also));
        let state = lobby.lock();
        assert_eq!((state.total, state.sources.len()), (0, 0));
    }
}
