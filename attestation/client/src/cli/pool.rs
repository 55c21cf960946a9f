//! Many calls on a few verified connections to one instance.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::cli::session::Line;
use crate::limits;

/// What is next after a piece of work.
pub(crate) enum Next {
    Continue,
    /// Nothing more is begun; what is under way ends.
    Stop,
}

/// Does `work` with each item, on `line` and as many connections more as pay off; `done` hears of
/// each that ended. Ctrl-C stops it. An item that was not begun has no result.
pub(crate) async fn each<T: 'static, R: 'static>(
    line: Line,
    items: Vec<T>,
    work: impl AsyncFn(&mut Line, T) -> (R, Next) + 'static,
    mut done: impl FnMut(),
) -> Vec<Option<R>> {
    let count = items.len();
    let connections = count.div_ceil(limits::CALLS_PER_CONNECTION_MIN);
    let connections = connections.clamp(1, limits::CONNECTIONS_MAX);
    let queue = Rc::new(RefCell::new(items.into_iter().enumerate()));
    let (stopped, work) = (Rc::new(Cell::new(false)), Rc::new(work));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let workers = LocalSet::new();
    let mut lines: Vec<Line> = (1..connections).map(|_| line.another()).collect();
    lines.push(line);
    for mut line in lines {
        let (queue, stopped, work) = (queue.clone(), stopped.clone(), work.clone());
        let sender = sender.clone();
        workers.spawn_local(async move {
            while !stopped.get() {
                let next = queue.borrow_mut().next();
                let Some((index, item)) = next else { break };
                let (result, next) = work(&mut line, item).await;
                if let Next::Stop = next {
                    stopped.set(true);
                }
                // The receiver is there until every sender is gone.
                let _ = sender.send((index, result));
            }
        });
    }
    drop(sender);
    let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
    workers
        .run_until(async {
            loop {
                tokio::select! {
                    received = receiver.recv() => {
                        let Some((index, result)) = received else { break };
                        done();
                        if let Some(place) = results.get_mut(index) {
                            *place = Some(result);
                        }
                    }
                    _ = tokio::signal::ctrl_c(), if !stopped.get() => stopped.set(true),
                }
            }
        })
        .await;
    results
}
