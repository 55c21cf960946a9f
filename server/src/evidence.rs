//! Evidence for many callers from one firmware call: whoever asks while a report is made waits for
//! the next one, and that one answers all who wait. Where reports follow each other, the next one
//! waits a little for those who have just been answered to ask again: a processor that makes few
//! reports a second holds up the call for as long anyway.

mod pace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use neo_secrets_attestation::binding::{Leaf, Root, Tree};
use neo_secrets_attestation::evidence::BatchBody;
use tokio::sync::{mpsc, oneshot};

use crate::limits;
use crate::metrics::Histogram;
use pace::Pace;

/// Bounds of batches, up to the largest.
const SIZES: &[u64] = &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// Where callers queue. Clones share the queue; it ends with the last clone.
#[derive(Clone)]
pub struct EvidenceQueue {
    waiters: mpsc::Sender<Waiter>,
    batch_sizes: Arc<Histogram<u64>>,
}

/// Why a caller has no evidence. Each may be over at the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// As many wait as one batch takes.
    #[error("too many callers wait for evidence")]
    QueueFull,
    /// No report in time.
    #[error("the secure processor is busy")]
    Late,
    /// Nobody has brought the chip's certificates.
    #[error("the chip's certificates are missing")]
    NoCertificates,
    /// This phase makes no evidence, or the processor failed; `/readyz` says which.
    #[error("there is no evidence now")]
    NotNow,
}

struct Waiter {
    leaf: Leaf,
    answer: oneshot::Sender<Result<Place, EvidenceError>>,
}

/// One caller's place in a finished batch.
struct Place {
    batch: Arc<Batch>,
    index: usize,
}

struct Batch {
    tree: Tree,
    body: BatchBody,
}

impl EvidenceQueue {
    /// Starts the thread that makes batches; `attest` makes the report over one root, and blocks.
    /// The thread ends when the queue's last clone is gone.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub fn start(
        attest: impl FnMut(&Root) -> Result<BatchBody, EvidenceError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (waiters, receiver) = mpsc::channel(limits::BATCH_LEAVES);
        let batch_sizes = Arc::new(Histogram::new(SIZES));
        let sizes = batch_sizes.clone();
        std::thread::Builder::new()
            .name("evidence".to_owned())
            .spawn(move || make_batches(receiver, attest, &sizes))?;
        Ok(EvidenceQueue { waiters, batch_sizes })
    }

    /// How many callers each report has answered.
    pub fn batch_sizes(&self) -> &Histogram<u64> {
        &self.batch_sizes
    }

    /// The document for one leaf.
    ///
    /// # Errors
    /// [`EvidenceError`]; all of them may be over at the next try.
    pub async fn document(&self, leaf: Leaf) -> Result<Vec<u8>, EvidenceError> {
        let (answer, answered) = oneshot::channel();
        self.waiters.try_send(Waiter { leaf, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EvidenceError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => EvidenceError::NotNow,
        })?;
        let place = tokio::time::timeout(limits::EVIDENCE_TIMEOUT, answered)
            .await
            .map_err(|_| EvidenceError::Late)?
            .map_err(|_| EvidenceError::NotNow)??;
        let path = place.batch.tree.path(place.index).ok_or(EvidenceError::NotNow)?;
        Ok(place.batch.body.document(&path))
    }
}

fn make_batches(
    mut receiver: mpsc::Receiver<Waiter>,
    mut attest: impl FnMut(&Root) -> Result<BatchBody, EvidenceError>,
    sizes: &Histogram<u64>,
) {
    let (mut waiters, mut pace) = (Vec::new(), Pace::default());
    while receiver.blocking_recv_many(&mut waiters, limits::BATCH_LEAVES) > 0 {
        let asked = Instant::now();
        std::thread::sleep(pace.gathering(asked));
        while waiters.len() < limits::BATCH_LEAVES
            && let Ok(waiter) = receiver.try_recv()
        {
            waiters.push(waiter);
        }
        // Who has gone away costs no report.
        waiters.retain(|waiter| !waiter.answer.is_closed());
        let leaves: Vec<Leaf> = waiters.iter().map(|waiter| waiter.leaf).collect();
        let Ok(tree) = Tree::new(&leaves) else { continue };
        // A panic fails this batch, not all that come after it.
        let attested = catch_unwind(AssertUnwindSafe(|| attest(&tree.root())));
        pace.note(asked, Instant::now());
        match attested.unwrap_or(Err(EvidenceError::NotNow)) {
            Ok(body) => {
                let batch = Arc::new(Batch { tree, body });
                sizes.note(u64::try_from(waiters.len()).unwrap_or(u64::MAX));
                for (index, waiter) in waiters.drain(..).enumerate() {
                    // A caller that went away meanwhile needs no answer.
                    let _gone = waiter.answer.send(Ok(Place { batch: batch.clone(), index }));
                }
            }
            Err(error) => {
                for waiter in waiters.drain(..) {
                    let _gone = waiter.answer.send(Err(error));
                }
            }
        }
        waiters.shrink_to(1_024); // after a rush
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakePlatform;
    use neo_secrets_attestation::binding::report_data;
    use neo_secrets_attestation::endorsements::Endorsements;
    use neo_secrets_attestation::evidence::{
        ClaimPhase, Claims, ConfigText, Document, ImageVersion,
    };
    use neo_secrets_attestation::firmware::report_response;
    use std::future::Future;

    use crate::platform::Platform;

    fn claims() -> Claims {
        Claims {
            tls_spki_sha256: [1; 32],
            config: ConfigText::new(b"x = 1\n").unwrap(),
            image_version: ImageVersion::new("0.1.0").unwrap(),
            phase: ClaimPhase::Unclaimed,
        }
    }

    /// A queue over a platform whose reports wait for the test's permission.
    fn queue(platform: &FakePlatform) -> EvidenceQueue {
        let platform = platform.clone();
        EvidenceQueue::start(move |root| {
            let answer = platform.report(&report_data(&claims(), root).0);
            let answer = answer.map_err(|_| EvidenceError::NotNow)?;
            let report = report_response(&answer).unwrap();
            let certificates = Endorsements { vek: vec![1], ask: vec![2], ark: vec![3], crl: None };
            Ok(BatchBody::new(report, &certificates, &claims(), None))
        })
        .unwrap()
    }

    fn check(leaf: Leaf, document: &[u8]) -> u32 {
        let document = Document::parse(document).unwrap();
        let root = document.path.root(leaf).unwrap();
        assert_eq!(document.report[0x50..0x90], report_data(&claims(), &root).0);
        document.path.size
    }

    fn leaf(byte: u8) -> Leaf {
        Leaf([byte; 32])
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn one_report_answers_all_who_wait() {
        block_on(async {
            let platform = FakePlatform::gated();
            let queue = queue(&platform);
            let ask = |byte| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.document(leaf(byte)).await })
            };
            let first = ask(0);
            platform.await_calls(1); // the first caller's report is being made
            let others: Vec<_> = (1..=20).map(ask).collect();
            while queue.waiters.capacity() > limits::BATCH_LEAVES - 20 {
                tokio::task::yield_now().await;
            }
            platform.open_gate(1);
            assert_eq!(check(leaf(0), &first.await.unwrap().unwrap()), 1);
            platform.await_calls(2);
            platform.open_gate(1);
            for (byte, other) in (1..=20).zip(others) {
                assert_eq!(check(leaf(byte), &other.await.unwrap().unwrap()), 20);
            }
            assert_eq!(platform.calls(), 2);
            assert_eq!((queue.batch_sizes().count(), queue.batch_sizes().sum()), (2, 21));
        });
    }

    #[test]
    fn a_full_queue_refuses_and_lives_on() {
        block_on(async {
            let platform = FakePlatform::gated();
            let queue = queue(&platform);
            let first = tokio::spawn({
                let queue = queue.clone();
                async move { queue.document(leaf(0)).await }
            });
            platform.await_calls(1);
            let mut answers = Vec::new();
            for _ in 0..limits::BATCH_LEAVES {
                let (answer, answered) = oneshot::channel();
                queue.waiters.try_send(Waiter { leaf: leaf(1), answer }).ok().unwrap();
                answers.push(answered);
            }
            assert_eq!(queue.document(leaf(2)).await, Err(EvidenceError::QueueFull));
            drop(answers); // they go away: no report is made for them
            platform.open_gate(2);
            first.await.unwrap().unwrap();
            let document = loop {
                match queue.document(leaf(3)).await {
                    Err(EvidenceError::QueueFull) => tokio::task::yield_now().await,
                    answer => break answer.unwrap(),
                }
            };
            assert_eq!(check(leaf(3), &document), 1);
            assert_eq!(platform.calls(), 2);
        });
    }

    #[test]
    fn a_panic_fails_one_batch_only() {
        block_on(async {
            let platform = FakePlatform::gated();
            platform.open_gate(1);
            let mut first = true;
            let queue = EvidenceQueue::start(move |root| {
                assert!(!std::mem::take(&mut first), "the first report panics");
                let answer = platform.report(&report_data(&claims(), root).0);
                let answer = answer.map_err(|_| EvidenceError::NotNow)?;
                let report = report_response(&answer).unwrap();
                let certificates =
                    Endorsements { vek: vec![1], ask: vec![2], ark: vec![3], crl: None };
                Ok(BatchBody::new(report, &certificates, &claims(), None))
            })
            .unwrap();
            assert_eq!(queue.document(leaf(1)).await, Err(EvidenceError::NotNow));
            assert_eq!(check(leaf(2), &queue.document(leaf(2)).await.unwrap()), 1);
        });
    }

    #[test]
    fn an_error_reaches_every_waiter() {
        block_on(async {
            let queue = EvidenceQueue::start(|_| Err(EvidenceError::NotNow)).unwrap();
            assert_eq!(queue.document(leaf(1)).await, Err(EvidenceError::NotNow));
            assert_eq!(queue.document(leaf(2)).await, Err(EvidenceError::NotNow));
        });
    }
}
