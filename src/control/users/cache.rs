//! What is believed about users for a short while, and who is being asked for.
//!
//! Bounded by two generations: what is used stays in the younger one, and when that is full, the
//! older one is dropped. Names that do not exist are kept as those that do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::super::ControlError;
use crate::auth::Lookup;
use crate::clock::Instant;

/// Entries by user.
#[derive(Debug, Default)]
pub(super) struct Cache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<String, Arc<Entry>>,
    old: HashMap<String, Arc<Entry>>,
}

/// One answer, or the place where those meet who wait for it.
#[derive(Debug, Default)]
pub(super) struct Entry {
    answer: OnceCell<(Result<Lookup, ControlError>, Instant)>,
}

impl Entry {
    /// The answer; the first of those who wait asks, and when it is dropped meanwhile, the next.
    pub(super) async fn get_or_ask<F>(
        &self,
        ask: impl FnOnce() -> F,
    ) -> Result<Lookup, ControlError>
    where
        F: Future<Output = (Result<Lookup, ControlError>, Instant)>,
    {
        self.answer.get_or_init(ask).await.0.clone()
    }

    /// Still being asked for, or still to be believed.
    fn is_fresh(&self) -> bool {
        self.answer.get().is_none_or(|(_, expires)| Instant::now() < *expires)
    }
}

impl Cache {
    /// The user's entry: a fresh one, or a new one to be filled.
    pub(super) fn entry(&self, user: &str) -> Arc<Entry> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations.young.get(user).filter(|entry| entry.is_fresh()) {
            return Arc::clone(entry);
        }
        let kept = generations.old.remove(user).filter(|entry| entry.is_fresh());
        let entry = kept.unwrap_or_default();
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(user.to_owned(), Arc::clone(&entry));
        entry
    }

    /// Drops the user's entry; those who wait for it still get its answer.
    pub(super) fn forget(&self, user: &str) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.remove(user);
        generations.old.remove(user);
    }
}

/// Entries of a generation; there are two.
const GENERATION: usize = 2048;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::auth::Refusal;

    const UNKNOWN: Result<Lookup, ControlError> = Ok(Lookup::Refused(Refusal::Unknown));

    async fn count(cache: &Cache, user: &str, ttl: Duration, asked: &AtomicUsize) {
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            (UNKNOWN, Instant::now() + ttl)
        };
        cache.entry(user).get_or_ask(ask).await.unwrap();
    }

    #[tokio::test]
    async fn one_question_for_all_who_ask_at_once() {
        let (cache, asked) = (Cache::default(), AtomicUsize::new(0));
        let ask = || count(&cache, "a", Duration::ZERO, &asked);
        tokio::join!(ask(), ask(), ask());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        ask().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn believed_until_it_expires_or_is_forgotten() {
        let (cache, asked) = (Cache::default(), AtomicUsize::new(0));
        let ask = || count(&cache, "a", Duration::from_mins(1), &asked);
        ask().await;
        ask().await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        cache.forget("a");
        ask().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn one_who_leaves_takes_no_answer_along() {
        let (cache, asked) = (Cache::default(), AtomicUsize::new(0));
        let stuck = cache.entry("a");
        let leaving = stuck.get_or_ask(std::future::pending);
        let waiting = count(&cache, "a", Duration::ZERO, &asked);
        assert!(tokio::time::timeout(Duration::from_millis(10), leaving).await.is_err());
        waiting.await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn bounded_and_what_is_used_stays() {
        let (cache, asked) = (Cache::default(), AtomicUsize::new(0));
        for n in 0..3 * GENERATION {
            count(&cache, &format!("u{n}"), Duration::from_mins(1), &asked).await;
            count(&cache, "used", Duration::from_mins(1), &asked).await;
        }
        let generations = cache.generations.lock().unwrap();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
        assert_eq!(asked.load(Ordering::Relaxed), 3 * GENERATION + 1);
    }
}
