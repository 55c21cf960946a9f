//! Admission: how many connections, and how many TLS handshakes, one peer may have at a time. So
//! nobody takes every place alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::peer::Peer;

/// The places of all peers. There is one entry for each peer that is connected, so the limit of
/// all connections bounds this too.
pub struct Admission {
    places_per_peer: u64,
    peers: Mutex<HashMap<Peer, Places>>,
    refused: AtomicU64,
}

struct Places {
    taken: u64,
    handshakes: Arc<Semaphore>,
}

/// A connection's place, until it is dropped.
pub struct Place {
    admission: Arc<Admission>,
    peer: Peer,
    handshakes: Arc<Semaphore>,
}

impl Admission {
    /// With this many places for each peer.
    pub fn new(places_per_peer: u64) -> Arc<Self> {
        let (peers, refused) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Admission { places_per_peer, peers, refused })
    }

    /// A place for one more connection of this peer. `None` where it has all of its own.
    pub fn place(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let handshakes = || Arc::new(Semaphore::new(limits::HANDSHAKES_PER_PEER));
        let places =
            peers.entry(peer).or_insert_with(|| Places { taken: 0, handshakes: handshakes() });
        if places.taken >= self.places_per_peer {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        places.taken += 1;
        let handshakes = places.handshakes.clone();
        Some(Place { admission: self.clone(), peer, handshakes })
    }

    /// Connections that found no place since the server started.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Waits until the peer has a handshake to spare; the permit is one.
    ///
    /// # Errors
    /// None: the semaphore is never closed.
    pub async fn handshake(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.handshakes.clone().acquire_owned().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.admission.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = peers.entry(self.peer) {
            match entry.get().taken {
                0 | 1 => drop(entry.remove()),
                _ => entry.get_mut().taken -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::at(address.parse().unwrap())
    }

    #[test]
    fn a_peer_has_its_places_and_no_more() {
        let admission = Admission::new(2);
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let first = admission.place(one).unwrap();
        let second = admission.place(one).unwrap();
        assert!(admission.place(one).is_none());
        assert!(admission.place(one).is_none(), "a refusal takes nothing");
        assert!(admission.place(other).is_some(), "another peer has its own");
        drop(first);
        let third = admission.place(one).unwrap();
        assert!(admission.place(one).is_none());
        assert_eq!(admission.refused(), 3);
        drop((second, third));
        assert!(admission.peers.lock().unwrap().is_empty(), "who has left is forgotten");
    }

    #[tokio::test]
    async fn a_peer_waits_for_its_own_handshakes_only() {
        let admission = Admission::new(u64::MAX);
        let one = admission.place(peer("2001:db8::1")).unwrap();
        let same = admission.place(peer("2001:db8::2")).unwrap();
        let mut permits = Vec::new();
        for _ in 0..limits::HANDSHAKES_PER_PEER {
            permits.push(one.handshake().await.unwrap());
        }
        let mut waiting = Box::pin(same.handshake());
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("a handshake more than there are"),
            () = std::future::ready(()) => {}
        }
        let other = admission.place(peer("2001:db8:0:1::1")).unwrap();
        drop(other.handshake().await.unwrap());
        permits.pop();
        drop(waiting.await.unwrap());
    }
}
