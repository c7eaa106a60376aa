//! Files that the configuration names, and whether they are as they were read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A secret, a user list or a certificate, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// What becomes another when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Watched {
    /// As it is now: to be made before the file is read.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: stamp(path) }
    }

    /// Whether the file is another by now, or gone. Blocks for the look at it.
    pub fn has_changed(&self) -> bool {
        stamp(&self.path) != self.stamp
    }

    /// From now on it counts as it is.
    pub fn look(&mut self) {
        self.stamp = stamp(&self.path);
    }
}

/// `None` where there is none that can be looked at.
fn stamp(path: &Path) -> Option<Stamp> {
    let of = |data: Metadata| Stamp {
        device: data.dev(),
        inode: data.ino(),
        length: data.len(),
        modified: (data.mtime(), data.mtime_nsec()),
    };
    std::fs::metadata(path).ok().map(of)
}
