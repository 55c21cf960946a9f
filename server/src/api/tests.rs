//! Calls on a store whose disk fails, and what a call takes.

use actix_web::dev::Service;
use actix_web::http::Method;
use actix_web::test::{self, TestRequest};
use actix_web::{App, FromRequest};
use serde_json::Value;

use super::*;
use crate::evidence::EvidenceError;
use crate::functions::FunctionLimits;
use crate::functions::egress::Network;
use crate::phase;
use crate::seal::tests::Chip;
use crate::store::tests::disk::Disk;
use crate::store::tests::{LIMITS, found};

const CONFIG: &str = "\
seal = \"firmware\"
reveal = \"by-permission\"
witnesses = []
quorum = 0
owner_key = \"any\"
";

/// Every request allocates its future.
#[actix_web::test]
async fn a_requests_future_is_small() {
    let (request, mut payload) = TestRequest::default().to_http_parts();
    let payload = web::Payload::from_request(&request, &mut payload).await.unwrap();
    let bytes = size_of_val(&answer(request, payload));
    assert!(bytes <= 1_536, "{bytes} bytes");
}

#[actix_web::test]
async fn a_disk_that_fails_lets_no_value_out() {
    for operations in 0..4 {
        let disk = Disk::default();
        let (store, claim) = found(&disk, &Chip::new(1), LIMITS);
        let instance = phase::tests::serving(store);
        let evidence = EvidenceQueue::start(|_| Err(EvidenceError::NotNow)).unwrap();
        let config = Config::parse(CONFIG.as_bytes()).unwrap();
        let limits = FunctionLimits::configured(&config.limits);
        let functions = Functions::start(std::path::PathBuf::from("/nowhere"), limits).unwrap();
        let egress = Arc::new(Egress::new(Network::internet(), instance.clock().clone()).unwrap());
        let api = Api::new(instance, evidence, functions, egress, &config);
        let app = App::new().app_data(web::Data::new(api)).default_service(web::to(answer));
        let service = test::init_service(app).await;
        let token = claim.admin_token.to_text();
        let call = async |method: Method, path: &str, body: &'static str| {
            let request = TestRequest::with_uri(path)
                .method(method)
                .insert_header(("authorization", format!("Bearer {}", *token)))
                .insert_header(("content-type", "application/json"))
                .set_payload(body);
            let answer = service.call(request.to_request()).await.unwrap();
            (answer.status().as_u16(), test::read_body(answer).await)
        };
        let body = r#"{"name":"a","value":"the-value"}"#;
        let (status, made) = call(Method::POST, "/v1/secrets", body).await;
        assert_eq!(status, 201);
        let made: Value = serde_json::from_slice(&made).unwrap();
        let path = format!("/v1/secrets/{}/value", made["id"].as_str().unwrap());
        let (status, value) = call(Method::GET, &path, "").await;
        assert!(status == 200 && value.windows(9).any(|window| window == b"the-value"));

        disk.fail_after(operations);
        let refused = loop {
            let (status, body) = call(Method::GET, &path, "").await;
            if status != 200 {
                break (status, body);
            }
        };
        disk.repair();
        for (status, body) in [refused, call(Method::GET, &path, "").await] {
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(status == 503 && body.contains("SERVICE_UNAVAILABLE"), "{status} {body}");
            assert!(!body.contains("the-value"));
        }
        assert_eq!(call(Method::GET, "/v1/audit-log", "").await.0, 503);
    }
}
