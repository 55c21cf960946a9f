//! Turns, and who waits for them.

use super::*;

const ROOM: Room = Room { running: 8, memory: 1_000, waiting: 12 };

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 18])
}

/// The turn, where it has come already.
fn now(place: &mut Place) -> Option<Turn> {
    place.turn.try_recv().ok()
}

/// As many as this account gets at once.
fn fill(share: &Arc<Share>, number: u8) -> (Vec<Turn>, Vec<Place>) {
    let (mut turns, mut places) = (vec![], vec![]);
    while let Ok(mut place) = share.place(account(number), 10, 0) {
        match now(&mut place) {
            Some(turn) => turns.push(turn),
            None => places.push(place),
        }
    }
    (turns, places)
}

#[test]
fn nobody_takes_more_than_is_left() {
    let share = Share::new(ROOM);
    let (one, one_waits) = fill(&share, 1);
    assert_eq!((one.len(), one_waits.len()), (4, 6));
    let (two, two_waits) = fill(&share, 2);
    assert_eq!((two.len(), two_waits.len()), (2, 3));
    let (three, three_waits) = fill(&share, 3);
    assert_eq!((three.len(), three_waits.len()), (1, 2));
    assert_eq!(share.numbers(), (7, 11));
    let (four, _four_waits) = fill(&share, 4);
    assert_eq!(four.len(), 1);
}

#[test]
fn who_has_the_least_at_work_is_next() {
    let share = Share::new(Room { running: 2, ..ROOM });
    let mut first = share.place(account(1), 10, 0).unwrap();
    let first = now(&mut first).unwrap();
    let mut other = share.place(account(2), 10, 0).unwrap();
    let other = now(&mut other).unwrap();
    let mut again = share.place(account(1), 10, 0).unwrap();
    let mut third = share.place(account(3), 10, 0).unwrap();
    assert!(now(&mut again).is_none() && now(&mut third).is_none());
    drop(other);
    assert!(now(&mut again).is_none(), "account 1 has one at work");
    let third = now(&mut third).unwrap();
    drop(first);
    let again = now(&mut again).unwrap();
    drop((third, again));
    assert_eq!(share.numbers(), (0, 0));
    assert!(share.lock().accounts.is_empty(), "who has left is forgotten");
}

fn place(share: &Arc<Share>, number: u8, memory: u32) -> Place {
    share.place(account(number), memory, 0).unwrap()
}

#[test]
fn who_waits_for_memory_is_passed_as_far_as_its_need_is_left() {
    let share = Share::new(ROOM);
    let large = now(&mut place(&share, 1, 600)).unwrap();
    let mut second = place(&share, 2, 600);
    assert!(now(&mut second).is_none());
    // 400 are free, and there are 400 beside what the second needs.
    let small = now(&mut place(&share, 3, 300)).unwrap();
    let mut over = place(&share, 4, 101);
    assert!(now(&mut over).is_none(), "the second could not begin when the first ends");
    let fits = now(&mut place(&share, 5, 100)).unwrap();
    // Those that pass have their room again and again.
    for _ in 0..1_000 {
        assert!(now(&mut place(&share, 6, 1)).is_none());
    }
    drop(fits);
    for _ in 0..1_000 {
        drop(now(&mut place(&share, 6, 100)).unwrap());
    }
    assert!(now(&mut over).is_none() && now(&mut second).is_none());
    drop(large);
    let second = now(&mut second).expect("all that was before it has ended");
    drop(small);
    assert!(now(&mut over).is_some());
    drop((second, over));
    let mut whole = place(&share, 4, 100_000);
    assert!(now(&mut whole).is_some(), "more than there is counts as all of it");
}

#[test]
fn those_that_pass_leave_a_turn() {
    let share = Share::new(Room { running: 3, ..ROOM });
    let large = now(&mut place(&share, 1, 900)).unwrap();
    let mut second = place(&share, 2, 600);
    let one = now(&mut place(&share, 3, 10)).unwrap();
    let other = now(&mut place(&share, 4, 10)).unwrap();
    let mut third = place(&share, 5, 10);
    drop(large);
    let second = now(&mut second).unwrap();
    assert!(now(&mut third).is_none());
    drop(one);
    assert!(now(&mut third).is_some());
    drop((second, other, third));
    assert!(share.lock().accounts.is_empty());
}

/// Whatever comes and goes: nobody waits for memory once all have ended that were at work when
/// it became the first.
#[test]
fn nobody_starves() {
    let share = Share::new(Room { waiting: 1_000, ..ROOM });
    let mut random = 1_u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % bound
    };
    let (mut turns, mut places, mut passed): (Vec<Turn>, Vec<Place>, _) = (vec![], vec![], 0);
    for step in 0..60_000 {
        let comes = step < 50_000 && places.len() < 40 && below(3) > 0;
        if comes {
            let (number, size) = (below(12), [10, 100, 300, 600, 999][below(5)]);
            places.push(place(&share, u8::try_from(number).unwrap(), size));
        } else if !turns.is_empty() {
            drop(turns.swap_remove(below(turns.len())));
        }
        places.retain_mut(|place| now(place).map(|turn| turns.push(turn)).is_none());
        let state = share.lock();
        let Some(arrival) = state.passed.arrival else { continue };
        let behind = turns.iter().filter(|turn| turn.passed == Some(state.passed.first));
        let memory = behind.clone().map(|turn| turn.memory).sum();
        assert_eq!((state.passed.running, state.passed.memory), (behind.count(), memory));
        passed += state.passed.running;
        let waits = places.iter().any(|place| place.arrival == arrival);
        assert!(!waits || state.passed.running < turns.len(), "only those that came later run");
    }
    assert!(passed > 1_000, "{passed}");
    assert!(places.is_empty() && turns.is_empty() && share.lock().accounts.is_empty());
}

#[test]
fn a_place_or_turn_that_nobody_wants_is_free_again() {
    let share = Share::new(Room { running: 1, waiting: 4, ..ROOM });
    let first = share.place(account(1), 10, 0).unwrap();
    let waits = share.place(account(1), 10, 0).unwrap();
    let large = share.place(account(2), 10, 10 * limits::WAITING_STEP_BYTES);
    assert!(large.is_err(), "its bytes fill the queue");
    assert_eq!(share.numbers(), (1, 1));
    drop(waits);
    assert_eq!(share.numbers(), (1, 0));
    let mut next = share.place(account(2), 10, 0).unwrap();
    drop(first);
    let next = now(&mut next).unwrap();
    assert_eq!(share.numbers(), (1, 0));
    drop(next);
    assert!(share.lock().accounts.is_empty());
}
