//! Worker processes beside a service, on its folder and with its configuration.

use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};

use super::app::Process;
use super::{TestApp, eventually};

/// A process that runs sessions and listens to nothing. Dropping it kills it (SIGKILL).
pub struct Worker(Process);

impl TestApp {
    /// Starts a worker and waits until it works.
    pub fn worker(&self) -> Worker {
        Worker(self.serve(&["--role", "worker", "--public-url", &self.url()], "working on sessions").0)
    }
}

impl Worker {
    /// Sends a signal to the worker.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0.child), signal).unwrap();
    }

    /// Asks the worker to stop (SIGTERM) and waits until it has.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        eventually("the worker stops", async || self.0.child.try_wait().unwrap()).await
    }

    /// What the worker has written to standard error so far: its log.
    pub fn log(&self) -> String {
        self.0.stderr.lock().unwrap().clone()
    }
}
