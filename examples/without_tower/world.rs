//! What the program depends on and what can fail: a disk, a plugin, a mailbox, a database. Each keeps its
//! own book, which the claims are held against.

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use tokio::time::sleep;

/// A folder of its own, gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    reads: AtomicU32,
}

impl Disk {
    pub(crate) fn new() -> io::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("portcullis-without-tower-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, reads: AtomicU32::new(0) })
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(name), text)
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<String> {
        self.reads.fetch_add(1, SeqCst);
        fs::read_to_string(self.folder.join(name))
    }

    /// How often it was read, or somebody tried.
    pub(crate) fn reads(&self) -> u32 {
        self.reads.load(SeqCst)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left of a temporary folder hurts nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Somebody else's code, with a bug.
pub(crate) fn plugin(text: &str) -> usize {
    text.split_once(" = ").map(|(_, value)| value.len()).expect("every line has a value")
}

/// How a [`Database`] is.
#[derive(Debug, Default)]
pub(crate) struct Database {
    asked: AtomicU32,
    inside: AtomicU32,
    most_inside: AtomicU32,
    /// So many queries to come fail.
    failing: AtomicU32,
}

impl Database {
    pub(crate) fn fail_next(&self, queries: u32) {
        self.failing.store(queries, SeqCst);
    }

    /// How many queries reached it.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(SeqCst)
    }

    /// The most that it had to do with at once.
    pub(crate) fn most_inside(&self) -> u32 {
        self.most_inside.load(SeqCst)
    }

    pub(crate) async fn query(&self, id: u32) -> io::Result<String> {
        self.asked.fetch_add(1, SeqCst);
        self.most_inside.fetch_max(self.inside.fetch_add(1, SeqCst) + 1, SeqCst);
        sleep(Duration::from_millis(2)).await;
        self.inside.fetch_sub(1, SeqCst);
        match self.failing.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
            Err(_) => Ok(format!("row {id}")),
        }
    }

    /// A query that it never answers.
    pub(crate) async fn lock_up(&self) -> io::Result<String> {
        std::future::pending().await
    }
}
