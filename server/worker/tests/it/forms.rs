//! The forms of code, and what it is given.

use crate::driver::{Server, Worker, invoke, once};

#[test]
fn the_sample_runs_as_it_is() {
    let run = once(
        "async function main(context) { const apiKey = await context.secrets.get('api-key'); return { success: true }; }",
    );
    assert_eq!(run.result(), r#"{"success":true}"#);
    assert_eq!(run.reads, ["api-key"]);
}
