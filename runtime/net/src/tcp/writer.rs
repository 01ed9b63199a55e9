//! The thread that writes what is sent, and how a connection ends.

use super::TcpOptions;
use crate::connection::Finish;
use crate::error::NetError;
use crate::frame;
use crate::tls::TlsWriter;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A socket that is written to as long as that may make sense: while a party waits for its peer, the reading
/// half decides how long; when the rest is sent off, nobody reads.
pub(super) struct Patient {
    pub(super) stream: Arc<TcpStream>,
    pub(super) idle: Option<Duration>,
    /// Since when nothing is added to what is to be written.
    pub(super) drains_since: Arc<OnceLock<Instant>>,
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            match (&*self.stream).write(bytes) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    let since = self.drains_since.get().map(|&since| since.max(start));
                    if let (Some(since), Some(idle)) = (since, self.idle)
                        && since.elapsed() >= idle
                    {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a writer thread writes to.
pub(super) trait Drain: Write + Send + 'static {
    /// Tells the peer that nothing follows, and closes the direction.
    fn close(&mut self) -> io::Result<()>;

    /// Closes both directions.
    fn abort(&self);
}

impl Drain for Patient {
    fn close(&mut self) -> io::Result<()> {
        shut_down(&self.stream, Shutdown::Write);
        Ok(())
    }

    fn abort(&self) {
        shut_down(&self.stream, Shutdown::Both);
    }
}

impl Drain for TlsWriter<Patient> {
    fn close(&mut self) -> io::Result<()> {
        Self::close(self)?;
        self.out_mut().close()
    }

    fn abort(&self) {
        self.out().abort();
    }
}

/// The handle of a writer thread.
pub(super) struct Writer {
    frames: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    drains_since: Arc<OnceLock<Instant>>,
    /// Bytes of frames that were queued and are not written.
    waiting: Arc<AtomicU64>,
    pub(super) limit_bytes: u64,
}

impl Writer {
    pub(super) fn spawn(
        mut out: impl Drain,
        drains_since: Arc<OnceLock<Instant>>,
        options: TcpOptions,
    ) -> io::Result<Self> {
        let (frames, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&waiting);
        let thread =
            std::thread::Builder::new().name("heq-net-writer".to_owned()).spawn(move || {
                let result = write_frames(&mut out, &queue, &written, options.heartbeat);
                let result = result.and_then(|()| out.close());
                if result.is_err() {
                    out.abort();
                }
                result
            })?;
        Ok(Self {
            frames: Some(frames),
            thread: Some(thread),
            drains_since,
            waiting,
            limit_bytes: u64::MAX,
        })
    }

    pub(super) fn queue(&mut self, frame: Vec<u8>) -> Result<(), NetError> {
        let bytes = frame.len() as u64;
        // Acquiring and releasing is the queue's concern; this is a count.
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit_bytes {
            return Err(NetError::NotReading { limit_bytes: self.limit_bytes });
        }
        if self.frames.as_ref().is_some_and(|frames| frames.send(frame).is_ok()) {
            return Ok(());
        }
        self.finish()()?;
        Err(NetError::Closed { doing: "sending" })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets the thread send what is queued; what is returned waits for it, and has its error the first time.
    pub(super) fn finish(&mut self) -> Finish {
        let _since = self.drains_since.get_or_init(Instant::now);
        self.frames = None;
        let Some(thread) = self.thread.take() else { return Box::new(|| Ok(())) };
        Box::new(|| {
            let panicked = |_| Err(io::Error::other("the writer thread panicked"));
            let written = thread.join().unwrap_or_else(panicked);
            written.map_err(|error| NetError::from_io("sending", error))
        })
    }
}

/// Writes frames in order until the queue is closed, and heartbeats while it is empty.
fn write_frames(
    out: &mut impl Write,
    queue: &Receiver<Vec<u8>>,
    waiting: &AtomicU64,
    heartbeat: Duration,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(super::BUFFER_BYTES, out);
    loop {
        let frame = match queue.try_recv() {
            Ok(frame) => frame,
            Err(TryRecvError::Disconnected) => return writer.flush(),
            Err(TryRecvError::Empty) => {
                writer.flush()?;
                match queue.recv_timeout(heartbeat) {
                    Ok(frame) => frame,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => {
                        writer.write_all(&frame::heartbeat())?;
                        continue;
                    }
                }
            }
        };
        // The one that is being written does not wait.
        waiting.fetch_sub(frame.len() as u64, Ordering::Relaxed);
        writer.write_all(&frame)?;
    }
}

/// How long nothing may come, and how many bytes may, while the end of a connection is waited for.
const END_PATIENCE: Duration = Duration::from_secs(10);
const END_BYTES: usize = 64 << 10;

/// Reads until the peer has closed its side, and throws away what it reads.
pub(crate) fn await_end(mut stream: &TcpStream) {
    let (mut bytes, mut count) = ([0; 1024], 0);
    // Heartbeats show that the peer works on.
    while count < END_BYTES && stream.set_read_timeout(Some(END_PATIENCE)).is_ok() {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(more) => count += more,
        }
    }
}

/// Shuts a connection down; that the peer did so before is no error.
pub(super) fn shut_down(stream: &TcpStream, which: Shutdown) {
    let _already_down = stream.shutdown(which);
}
