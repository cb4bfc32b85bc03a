//! One request to stop, seen by everybody.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Asks everybody to stop.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Tells when to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what it triggers; dropping every trigger also asks to stop.
pub fn shutdown_channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Asks to stop; asking twice changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until somebody asks.
    pub async fn requested(&mut self) {
        // An error means that every trigger is gone, and with it whoever wanted us to run.
        self.0.wait_for(|asked| *asked).await.map(drop).unwrap_or_default();
    }
}

/// Requests a stop at the first SIGTERM or SIGINT, and ends the process at the second.
///
/// # Errors
/// The world's fault: the handlers could not be installed.
pub fn stop_on_signals(trigger: ShutdownTrigger) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for asked in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked == 0 {
                tracing::info!("stopping; a second signal ends the process at once");
                trigger.request();
            }
        }
        tracing::warn!("second signal: ending at once");
        std::process::exit(i32::from(crate::Exit::Transient.code()));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_every_copy() {
        let (trigger, shutdown) = shutdown_channel();
        let mut copy = shutdown.clone();
        assert!(!shutdown.is_requested());
        trigger.request();
        copy.requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn losing_every_trigger_is_a_request() {
        let (trigger, mut shutdown) = shutdown_channel();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
