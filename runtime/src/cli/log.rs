//! The log of a server, on standard error.
//!
//! A thread of its own writes it, so that nobody who serves waits for whoever reads: lines for which there is
//! no room are lost, and their number is logged.

use super::args::LogFormat;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for being written.
const WAITING: usize = 4096;

/// How long the end of a program waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes what is left of the log when it is dropped.
pub(super) struct Log {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

/// Lets what the server says from now on go to standard error. The first call counts.
pub(super) fn start(format: LogFormat) -> Log {
    let (lines, queue) = mpsc::sync_channel(WAITING);
    let (stop, stopped) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Writer { lines, lost: Arc::clone(&lost) };
    let builder = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_max_level(Level::INFO)
        .with_target(false)
        .with_ansi(false);
    // In a process that has a log already, that one is used.
    let _kept = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    let write = move || {
        write_lines(&queue, &stopped, &lost);
        drop(end);
    };
    // Without a thread there is no log, and the service goes on.
    let _spawned = std::thread::Builder::new().name("heq-log".to_owned()).spawn(write);
    Log { stop: Some(stop), ended }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop = None;
        // Ended, or nobody reads.
        let _ended = self.ended.recv_timeout(PATIENCE);
    }
}

/// Writes lines until the log is dropped and none waits.
fn write_lines(queue: &Receiver<Vec<u8>>, stopped: &Receiver<()>, lost: &AtomicU64) {
    const TICK: Duration = Duration::from_millis(50);
    loop {
        match queue.recv_timeout(TICK) {
            Ok(line) => {
                // There is no other place to say that it cannot be written.
                let _unwritten = io::stderr().write_all(&line);
                let count = lost.swap(0, Ordering::Relaxed);
                if count > 0 {
                    let _unwritten = writeln!(io::stderr(), "{count} lines of this log were lost");
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Disconnected)) {
                    return;
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Takes lines without waiting.
#[derive(Clone)]
struct Writer {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(line.to_vec()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_room_is_counted_and_nobody_waits() {
        let (lines, queue) = mpsc::sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer { lines, lost: Arc::clone(&lost) };
        for line in [b"1", b"2", b"3", b"4"] {
            writer.write_all(line).unwrap();
        }
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert_eq!(queue.try_iter().collect::<Vec<_>>(), [b"1", b"2"]);
    }
}
