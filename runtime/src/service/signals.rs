//! Signals of the operating system: stop, stop at once, and read the files again.

use super::Service;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::{Arc, Weak, mpsc};

/// Handles signals on a thread of its own as long as the service is there.
pub(super) fn handle(service: &Arc<Service>) -> io::Result<()> {
    let service = Arc::downgrade(service);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (reload, reloads) = mpsc::sync_channel::<()>(1);
    let reloading = Weak::clone(&service);
    // Reading takes as long as weights take; to stop must not wait for it.
    std::thread::Builder::new().name("heq-reload".to_owned()).spawn(move || {
        for () in reloads {
            let Some(service) = reloading.upgrade() else { return };
            if let Err(diagnostic) = service.reload() {
                tracing::error!("{diagnostic}");
            }
        }
    })?;
    std::thread::Builder::new().name("heq-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let Some(service) = service.upgrade() else { return };
            if signal == SIGHUP {
                // One that waits will see what this one would have.
                let _waits = reload.try_send(());
            } else if service.is_stopping() {
                service.give_up();
            } else {
                service.stop();
            }
        }
    })?;
    Ok(())
}
