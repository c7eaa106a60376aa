//! What a client has by the names of its statements.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::statements::Name;

/// By name; the unnamed one by itself, since most clients have no other, and change it with each query.
#[derive(Debug)]
pub(super) struct Names<V> {
    unnamed: Option<V>,
    named: HashMap<Name, V, FxBuildHasher>,
}

impl<V> Names<V> {
    pub(super) fn get(&self, name: &[u8]) -> Option<&V> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) }
    }

    pub(super) fn insert(&mut self, name: &[u8], value: V) -> Option<V> {
        if name.is_empty() {
            self.unnamed.replace(value)
        } else {
            self.named.insert(name.into(), value)
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<V> {
        if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) }
    }

    /// How many there are, the unnamed one included.
    pub(super) fn len(&self) -> usize {
        self.named.len() + usize::from(self.unnamed.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unnamed.is_none() && self.named.is_empty()
    }

    pub(super) fn has_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// Keeps of those with a name what is said so of; the unnamed one stays.
    pub(super) fn retain_named(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.named.retain(|_, value| keep(value));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        let unnamed = self.unnamed.iter().map(|value| (&b""[..], value));
        unnamed.chain(self.named.iter().map(|(name, value)| (&**name, value)))
    }

    pub(super) fn shrink(&mut self) {
        self.named.shrink_to_fit();
    }
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self { unnamed: None, named: HashMap::default() }
    }
}
