//! Timers.

use crate::driver::{Server, Worker, invoke, once, table};

#[test]
fn timers_keep_their_order() {
    let code = "async function main() {
      const out = [];
      const note = (...values) => out.push(values.join());
      setTimeout(note, 300, 'c'); setTimeout(note, 150, 'b', 2); setTimeout(note, 0, 'a'); setTimeout(note, 0, 'a2');
      setTimeout(() => { note('f'); Promise.resolve().then(() => note('microtask')); setTimeout(note, 0, 'nested'); });
      clearTimeout(setTimeout(note, 1, 'never')); clearTimeout(12345); clearTimeout();
      queueMicrotask(() => note('first'));
      let ticks = 0;
      const id = setInterval(() => { ticks += 1; if (ticks === 3) clearInterval(id); }, 1);
      await new Promise((resolve) => setTimeout(resolve, 450));
      return [out, ticks, typeof id];
    }";
    assert_eq!(
        once(code).result(),
        r#"[["first","a","a2","f","microtask","nested","b,2","c"],3,"number"]"#
    );
    table(&[
        ("setTimeout('code')", "!TypeError"),
        ("setTimeout()", "!TypeError"),
        ("new Promise((resolve) => setTimeout(resolve, -5, 'negative'))", r#""negative""#),
        ("new Promise((resolve) => setTimeout(resolve, NaN, 'nan'))", r#""nan""#),
        ("new Promise((resolve) => setTimeout(resolve, 2 ** 32, 'wraps'))", r#""wraps""#),
        (
            "(async () => { const start = Date.now(); await new Promise((r) => setTimeout(r, 30)); return Date.now() - start >= 29; })()",
            "true",
        ),
        (
            "(() => { for (let i = 0; i < 10001; i += 1) setTimeout(() => {}, 1e6); })()",
            "!RangeError",
        ),
    ]);
}

#[test]
fn waiting_costs_no_time_of_the_processor() {
    let mut worker =
        Worker::loaded("async function main() { await new Promise((r) => setTimeout(r, 1000)); }");
    let ticks = |worker: &Worker| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks(&worker);
    worker.run(invoke(), &mut Server::default()).result();
    // A hundredth of a second each.
    assert!(ticks(&worker) - before < 20);
}

#[test]
fn a_busy_timer_does_not_starve_a_fetch() {
    let code = "async function main({ secrets }) {
      const id = setInterval(() => {}, 0);
      const again = () => setTimeout(again, 0);
      again();
      return secrets.get('api-key');
    }";
    assert_eq!(once(code).result(), r#""s3cr3t""#);
}
