//! A worker's life: ready, one code, one invocation at a time, each in a realm of its own.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use neo_secrets_worker_protocol::{ToServer, ToWorker};

use crate::channel::{Channel, end};
use crate::engine::Realm;
use crate::host::Host;
use crate::invocation;
use crate::memory::Native;
use crate::prelude::Prelude;
use crate::syntax::Code;

/// The server's worker, in its sandbox.
pub(crate) struct Worker {
    channel: Rc<Channel>,
    last_request: Rc<Cell<u64>>,
}

impl Worker {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel: Rc::new(channel), last_request: Rc::default() }
    }

    /// Serves until the server closes its end, or until nothing more can be expected of this
    /// process.
    pub(crate) fn serve(self) -> ExitCode {
        let prelude = Prelude::compile().expect("our own text compiles");
        let mut realm = self.realm(prelude);
        self.channel.send(&ToServer::Ready);
        let ToWorker::Load { code } = self.channel.receive() else { end(1) };
        let code = match Code::check(code) {
            Ok(code) => code,
            Err(error) => {
                self.channel.send(&ToServer::CompileError(error));
                end(0)
            }
        };
        self.channel.send(&ToServer::Loaded);
        loop {
            match self.channel.receive() {
                ToWorker::Invoke(invoke) => {
                    Native::while_it_runs(true);
                    let ended = invocation::run(&realm, &code, *invoke);
                    self.channel.send(&ended);
                    Native::while_it_runs(false);
                    if matches!(ended, ToServer::TimedOut | ToServer::MemoryExceeded) {
                        // What was cut short may not be free of leaks, and the engine insists.
                        end(0);
                    }
                    // While nobody waits. The old one goes first: it may fill the process's memory.
                    drop(realm);
                    realm = self.realm(prelude);
                }
                // The answer crossed the end of its invocation.
                ToWorker::Secret { request, .. } | ToWorker::Fetched { request, .. }
                    if request <= self.last_request.get() => {}
                _ => end(1),
            }
        }
    }

    fn realm(&self, prelude: Prelude) -> Realm {
        let host = Host::new(Rc::clone(&self.channel), Rc::clone(&self.last_request));
        Realm::new(prelude, host).expect("a fresh realm takes under 1 MiB")
    }
}
