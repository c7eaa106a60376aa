//! Room for clients: so many in all, and so many by name or address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room for so many clients, once they have proved who they are.
#[derive(Debug)]
pub struct Room {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

/// A client's part of the room; dropped, it is free.
#[derive(Debug)]
pub struct Seat(Arc<Room>);

impl Room {
    /// Room for `limit` clients.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), taken: AtomicUsize::new(0) })
    }

    /// Takes a seat; if none is left, says how many there are.
    pub fn enter(self: &Arc<Self>) -> Result<Seat, usize> {
        let limit = self.limit.load(Ordering::Relaxed);
        let seat = Seat(Arc::clone(self));
        // The seat is given back as it is dropped.
        if self.taken.fetch_add(1, Ordering::Relaxed) < limit { Ok(seat) } else { Err(limit) }
    }

    /// Changes the limit; nobody is sent away.
    pub fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for so many clients of each name. What is named is a peer's to choose: the keys are hashed with
/// secret seeds, and there are never more of them than clients.
#[derive(Debug)]
pub struct Rooms<K: Eq + Hash> {
    /// 0 is no limit.
    limit: AtomicUsize,
    taken: Mutex<HashMap<K, usize>>,
}

/// A client's part of a room by name; dropped, it is free.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    rooms: Arc<Rooms<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Rooms<K> {
    /// Room for `limit` clients of each name; 0 is no limit.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), taken: Mutex::default() })
    }

    /// Takes a place; if none of this name is left, says how many there are.
    pub fn enter(self: &Arc<Self>, key: K) -> Result<Place<K>, usize> {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut taken = self.lock();
        // All of one name share its memory.
        let key = taken.get_key_value(&key).map_or(key, |(known, _)| known.clone());
        // A limit is one at least: a name that is refused is there already.
        let count = taken.entry(key.clone()).or_insert(0);
        if limit > 0 && *count >= limit {
            return Err(limit);
        }
        *count += 1;
        drop(taken);
        Ok(Place { rooms: Arc::clone(self), key })
    }

    /// Changes the limit; nobody is sent away.
    pub fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

impl<K: Eq + Hash> Rooms<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // It is whole between any two statements that could panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.rooms.lock();
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_takes_the_next_when_one_leaves() {
        let room = Room::new(1);
        let seat = room.enter().unwrap();
        assert_eq!(room.enter().unwrap_err(), 1);
        drop(seat);
        let _seat = room.enter().unwrap();
        room.resize(2);
        let _other = room.enter().unwrap();
    }

    #[test]
    fn each_name_has_its_own_room_and_leaves_no_trace() {
        let rooms = Rooms::new(2);
        let held = [rooms.enter("ann").unwrap(), rooms.enter("ann").unwrap()];
        assert_eq!(rooms.enter("ann").unwrap_err(), 2);
        let other = rooms.enter("bob").unwrap();
        drop(held);
        let again = rooms.enter("ann").unwrap();
        rooms.resize(1);
        assert_eq!(rooms.enter("ann").unwrap_err(), 1);
        drop((again, other));
        assert!(rooms.lock().is_empty());
    }

    #[test]
    fn without_a_limit_everybody_is_counted_and_let_in() {
        let rooms = Rooms::new(0);
        let held: Vec<_> = (0..100).map(|_| rooms.enter(7).unwrap()).collect();
        rooms.resize(50);
        assert_eq!(rooms.enter(7).unwrap_err(), 50);
        drop(held);
        assert!(rooms.enter(7).is_ok());
    }
}
