use super::*;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn account(number: u16) -> AccountId {
    let mut bytes = [0xAC; 18];
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    AccountId::from_bytes(bytes)
}

/// A write is whose it is, and which of its account's.
type Named = (u16, usize);
const OWNER: u16 = u16::MAX;

fn lane_of(number: u16) -> AccountId {
    if number == OWNER { SYSTEM } else { account(number) }
}

/// Whether a write finds a place at once.
fn push(queue: &Queue<Named>, write: Named) -> bool {
    push_with(queue, write, Haste::Awaited)
}

fn push_with(queue: &Queue<Named>, write: Named, haste: Haste) -> bool {
    let pushed = pin!(queue.push(lane_of(write.0), write, haste));
    match pushed.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome.is_ok(),
        Poll::Pending => false,
    }
}

fn fill(queue: &Queue<Named>, account: u16, writes: usize) {
    for number in 0..writes {
        assert!(push(queue, (account, number)), "{account} {number}");
    }
}

#[test]
fn a_flood_keeps_neither_owner_nor_neighbour_waiting() {
    let queue = Queue::new();
    fill(&queue, 1, WRITES_WAITING);
    fill(&queue, 2, 1);
    fill(&queue, OWNER, 1);
    let writes = queue.take(true, Company::any()).unwrap();
    assert_eq!(writes[..4], [(OWNER, 0), (1, 0), (2, 0), (1, 1)]);
    assert_eq!(writes.len(), WRITE_BATCH);
    // Alone, an account has the rest of the commit, in order.
    assert!(writes[3..].iter().enumerate().all(|(at, write)| *write == (1, at + 1)));
    assert_eq!(
        queue.take(true, Company::any()).unwrap(),
        [(1, WRITES_WAITING - 2), (1, WRITES_WAITING - 1)]
    );
    assert!(queue.take(false, Company::any()).unwrap().is_empty());
}

#[test]
fn every_account_has_a_turn_before_any_has_two() {
    let queue = Queue::new();
    let accounts = 3 * WRITE_BATCH / 2;
    for number in 0..accounts {
        fill(&queue, number.try_into().unwrap(), 2);
    }
    let mut order = Vec::new();
    while let Some(writes) = queue.take(false, Company::any()).filter(|writes| !writes.is_empty()) {
        assert_eq!(writes.len(), WRITE_BATCH);
        order.extend(writes);
    }
    let (first, second) = order.split_at(accounts);
    for (turn, writes) in [first, second].into_iter().enumerate() {
        let expected: Vec<Named> =
            (0..accounts).map(|number| (number.try_into().unwrap(), turn)).collect();
        assert_eq!(writes, expected);
    }
}

#[test]
fn the_owners_flood_leaves_most_of_a_commit_to_accounts() {
    let queue = Queue::new();
    fill(&queue, 1, 3);
    fill(&queue, OWNER, OWNER_WRITES + 1);
    let writes = queue.take(true, Company::any()).unwrap();
    assert_eq!(writes[..2], [(OWNER, 0), (OWNER, 1)]);
    assert_eq!(writes[OWNER_WRITES..], [(1, 0), (1, 1), (1, 2)]);
    assert_eq!(queue.take(true, Company::any()).unwrap(), [(OWNER, OWNER_WRITES)]);
}

#[test]
fn who_has_no_place_waits_in_order_and_may_leave() {
    let queue = Queue::new();
    fill(&queue, 1, WRITES_WAITING);
    let mut context = Context::from_waker(Waker::noop());
    let mut second = Box::pin(queue.push(account(1), (1, 902), Haste::Awaited));
    {
        let mut first = pin!(queue.push(account(1), (1, 901), Haste::Awaited));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        // Another account has its own places.
        assert!(push(&queue, (2, 0)));
        // The first one's caller goes.
    }
    let mut third = Box::pin(queue.push(account(1), (1, 903), Haste::Awaited));
    assert!(third.as_mut().poll(&mut context).is_pending());
    assert_eq!(queue.take(true, Company::any()).unwrap().len(), WRITE_BATCH);
    assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    assert!(matches!(third.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    assert_eq!(
        queue.take(true, Company::any()).unwrap(),
        [(1, WRITES_WAITING - 1), (1, 902), (1, 903)]
    );
    drop((second, third));
    // Lanes that nobody uses are forgotten.
    assert!(queue.lock().by_account.is_empty() && queue.lock().turns.is_empty());
}

#[test]
fn a_closed_queue_still_gives_what_had_a_place() {
    let queue = Queue::new();
    fill(&queue, 1, WRITES_WAITING);
    let mut context = Context::from_waker(Waker::noop());
    let mut late = pin!(queue.push(account(1), (1, 900), Haste::Awaited));
    assert!(late.as_mut().poll(&mut context).is_pending());
    queue.close();
    let refused = Poll::Ready(Err(StoreFailure::Unavailable));
    assert_eq!(late.as_mut().poll(&mut context), refused);
    assert!(!push(&queue, (2, 0)));
    assert_eq!(queue.take(true, Company::any()).unwrap().len(), WRITES_WAITING);
    assert_eq!(queue.take(true, Company::any()), None);
    assert_eq!(queue.take(false, Company::any()), None);
}

#[test]
fn an_abandoned_queue_drops_what_waits() {
    let queue = Queue::new();
    let write = std::sync::Arc::new(());
    let pushed = pin!(queue.push(account(1), Arc::clone(&write), Haste::Awaited));
    assert!(pushed.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    queue.abandon();
    assert_eq!(Arc::strong_count(&write), 1);
    assert!(queue.take(true, Company::any()).is_none());
}

#[test]
fn a_patient_write_shares_the_next_commit_or_has_its_own_in_the_end() {
    let queue = Queue::new();
    let patient = |write| assert!(push_with(&queue, write, Haste::Patient));
    patient((1, 0));
    assert!(queue.lock().patience().is_some_and(|left| left <= WRITE_PATIENCE));
    // Somebody waits for the next one: both come at once, each account's in their order.
    assert!(push(&queue, (2, 0)));
    assert!(push(&queue, (1, 1)));
    assert_eq!(queue.lock().patience(), None);
    assert_eq!(queue.take(true, Company::any()).unwrap(), [(1, 0), (2, 0), (1, 1)]);
    assert_eq!(queue.lock().patience(), None, "nobody is left");
    // Alone, they come when they have waited.
    patient((1, 2));
    patient((1, 3));
    assert_eq!(queue.take(true, Company::any()).unwrap(), [(1, 2), (1, 3)]);
    // A writer that has other work takes them along, and so does one that is to end.
    patient((1, 4));
    assert_eq!(queue.take(false, Company::any()).unwrap(), [(1, 4)]);
    patient((1, 5));
    queue.close();
    assert_eq!(queue.lock().patience(), None);
    assert_eq!(queue.take(true, Company::any()).unwrap(), [(1, 5)]);
    assert_eq!(queue.take(true, Company::any()), None);
}

#[test]
fn a_writer_that_waits_for_nothing_is_woken_for_a_patient_write() {
    let queue = Arc::new(Queue::<Named>::new());
    let writer = {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || queue.take(true, Company::any()))
    };
    while queue.lock().wanted.is_none() {
        std::thread::yield_now();
    }
    assert!(push_with(&queue, (1, 0), Haste::Patient));
    assert_eq!(writer.join().unwrap().unwrap(), [(1, 0)]);
}

#[test]
fn a_commit_waits_for_half_of_the_callers_and_no_longer_than_the_last_one_took() {
    let long = Duration::from_secs(3_600);
    let after = |callers| Company::after(long, callers);
    // Nobody is waited for where nobody has come, nor by a lone caller.
    assert!(after(1).left(1).is_none() && after(18).left(0).is_none());
    assert!(after(2).left(1).is_none());
    for (callers, wanted) in [(3, 2), (64, 32), (63, 32)] {
        let company = after(callers);
        assert!(company.left(wanted - 1).is_some_and(|left| left <= WRITE_GATHERING));
        assert!(company.left(wanted).is_none());
    }
    assert!(after(10_000).left(WRITE_BATCH).is_none(), "no commit carries more");
    assert!(Company::after(Duration::ZERO, 64).left(1).is_none(), "that one took no time");
}

#[test]
fn the_writer_is_woken_when_enough_have_come() {
    let queue = Arc::new(Queue::<Named>::new());
    let company = Company { wanted: 3, until: Instant::now() + Duration::from_secs(3_600) };
    let start = || {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || queue.take(true, company))
    };
    let await_wanted = |wanted| {
        while queue.lock().wanted != Some(wanted) {
            std::thread::yield_now();
        }
    };
    let writer = start();
    await_wanted(1);
    assert!(push(&queue, (1, 0)));
    await_wanted(3);
    assert!(push(&queue, (1, 1)));
    assert!(push(&queue, (2, 0)));
    assert_eq!(writer.join().unwrap().unwrap(), [(1, 0), (2, 0), (1, 1)]);
    // The end waits for nobody.
    assert!(push(&queue, (1, 2)));
    let writer = start();
    await_wanted(3);
    queue.close();
    assert_eq!(writer.join().unwrap().unwrap(), [(1, 2)]);
}

#[test]
fn callers_are_those_who_are_answered_and_those_who_wait() {
    let queue = Queue::new();
    for number in 0..4 {
        assert!(push_with(&queue, (1, number), Haste::Patient));
    }
    fill(&queue, 2, WRITE_BATCH);
    assert_eq!(queue.callers(), WRITE_BATCH);
    // Nobody waits for the answers of patient ones: they bring no company.
    assert_eq!(queue.take(true, Company::any()).unwrap().len(), WRITE_BATCH);
    assert_eq!(queue.callers(), WRITE_BATCH);
    assert_eq!(queue.take(true, Company::any()).unwrap().len(), 4);
    assert_eq!(queue.callers(), 4);
    assert!(push_with(&queue, (1, 0), Haste::Patient));
    assert_eq!(queue.take(false, Company::any()).unwrap().len(), 1);
    assert_eq!(queue.callers(), 0);
}
