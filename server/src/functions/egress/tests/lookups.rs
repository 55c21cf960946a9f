//! Names whose servers are slow.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;

use super::world::clock;
use super::*;
use crate::model::AccountId;

const OTHER: AccountId = AccountId::from_bytes([2; 18]);

/// A resolver that answers of `slow.test` when it is let.
struct Slow {
    inner: Arc<dyn Resolver>,
    under_way: watch::Sender<usize>,
    answers: watch::Sender<bool>,
}

impl Resolver for Slow {
    fn resolve<'a>(&'a self, host: &'a HostName) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(async move {
            if host.as_str() == "slow.test" {
                self.under_way.send_modify(|count| *count += 1);
                self.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
                self.under_way.send_modify(|count| *count -= 1);
            }
            self.inner.resolve(host).await
        })
    }
}

fn slow() -> (World, Arc<Egress>, Arc<Slow>) {
    let mut world = World::with(|_| answer("200 OK", "x"));
    world.host("slow.test", "1.1.1.2", |_| answer("200 OK", "x"));
    let mut network = world.network();
    let (under_way, answers) = (watch::Sender::new(0), watch::Sender::new(false));
    let slow = Arc::new(Slow { inner: network.resolver, under_way, answers });
    network.resolver = slow.clone();
    (world, Arc::new(Egress::new(network, clock()).unwrap()), slow)
}

#[tokio::test]
async fn slow_names_of_one_account_stop_no_other_one() {
    let (world, egress, slow) = slow();
    let mut fetches = tokio::task::JoinSet::new();
    for _ in 0..2 * limits::EGRESS_LOOKUPS {
        let (egress, rules) = (egress.clone(), world.rules());
        fetches.spawn(async move {
            egress.fetch(&rules, &Nobody, get("https://slow.test/")).await.map(drop)
        });
    }
    let mut under_way = slow.under_way.subscribe();
    under_way.wait_for(|count| *count == limits::EGRESS_LOOKUPS / 2).await.unwrap();
    // Those who have asked go; their lookups stay, and still count.
    fetches.shutdown().await;
    let fetch = |account, name: &str| {
        let (egress, rules) = (egress.clone(), world.rules_of(account));
        let request = get(&format!("https://{name}/"));
        async move { egress.fetch(&rules, &Nobody, request).await.map(drop) }
    };
    assert_eq!(fetch(OTHER, "api.test").await, Ok(()));
    assert_eq!(*slow.under_way.borrow(), limits::EGRESS_LOOKUPS / 2);
    let mut waits = Box::pin(fetch(ACCOUNT, "api.test"));
    let waited = tokio::time::timeout(Duration::from_millis(50), &mut waits).await;
    assert!(waited.is_err(), "the account has its share");
    slow.answers.send_replace(true);
    assert_eq!(waits.await, Ok(()));
    under_way.wait_for(|count| *count == 0).await.unwrap();
}

#[tokio::test]
async fn a_lookup_has_its_time() {
    let (world, egress, _slow) = slow();
    let mut egress = Arc::into_inner(egress).unwrap();
    egress.connector.lookup_timeout = Duration::from_millis(50);
    let fetched = egress.fetch(&world.rules(), &Nobody, get("https://slow.test/")).await;
    assert_eq!(fetched.unwrap_err(), refused(Refusal::Lookup { host: name("slow.test") }));
}
