//! Signals of the operating system: stop, and read the files again.

use super::Service;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;

/// Handles signals on a thread of its own as long as the service is there.
pub(super) fn handle(service: &Arc<Service>) -> io::Result<()> {
    let service = Arc::downgrade(service);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("heq-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let Some(service) = service.upgrade() else { return };
            if signal == SIGHUP {
                if let Err(diagnostic) = service.reload() {
                    tracing::error!("nothing was read again: {diagnostic}");
                }
            } else {
                service.stop();
            }
        }
    })?;
    Ok(())
}
