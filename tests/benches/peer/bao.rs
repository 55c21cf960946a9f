//! The peer: OpenBao's own server, with raft on disk, a TLS listener, its key-value store, and an audit
//! device. tests/README.md says why this is what we are measured against, and what else is.

use std::fmt::Write as _;
use std::io::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use neo_secrets_tests::http::Connection;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::{Value, json};

/// Whether each call leaves a line in a file, as its documentation has it in production.
#[derive(Clone, Copy, PartialEq)]
pub enum Audit {
    File,
    Off,
}

/// What an application would hold: a token that may read values and do nothing else.
const POLICY: &str = "path \"kv/data/*\" { capabilities = [\"read\"] }";

/// A running, unsealed server with a store at `/v1/kv`. Killed when dropped.
pub struct Bao {
    pub addr: SocketAddr,
    pub version: String,
    token: String,
    application: String,
    audit: Option<PathBuf>,
    child: Child,
}

impl Bao {
    /// Starts one with its data in `scratch`, a folder that it makes. It takes no port 0, so it is
    /// given two that were free.
    ///
    /// # Errors
    /// The program does not start.
    ///
    /// # Panics
    /// Where it answers otherwise than it should.
    pub fn start(program: &Path, scratch: &Path, audit: Audit) -> Result<Bao, Error> {
        let (key, certificate) = super::self_signed();
        let (listen, cluster) = (free_port()?, free_port()?);
        let file = |name: &str| -> PathBuf { scratch.join(name) };
        std::fs::create_dir_all(file("raft"))?;
        let pem = PKey::private_key_from_pkcs8(&key)?.private_key_to_pem_pkcs8()?;
        std::fs::write(file("key.pem"), pem)?;
        std::fs::write(file("certificate.pem"), X509::from_der(&certificate)?.to_pem()?)?;
        let mut text = format!(
            "storage \"raft\" {{ path = {:?} node_id = \"one\" }}\n\
             listener \"tcp\" {{ address = \"{listen}\" tls_cert_file = {:?} tls_key_file = {:?} }}\n\
             api_addr = \"https://{listen}\"\ncluster_addr = \"https://{cluster}\"\n",
            file("raft"),
            file("certificate.pem"),
            file("key.pem")
        );
        let audit = (audit == Audit::File).then(|| file("audit.log"));
        if let Some(path) = &audit {
            let _ = writeln!(
                text,
                "audit \"file\" \"calls\" {{ description = \"calls\" options {{ file_path = {path:?} }} }}"
            );
        }
        std::fs::write(file("bao.hcl"), text)?;
        let log = std::fs::File::create(file("bao.log"))?;
        let version = Command::new(program).arg("version").output()?.stdout;
        let child = Command::new(program)
            .arg("server")
            .arg(format!("-config={}", file("bao.hcl").display()))
            .args(["-log-level=warn"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        let mut bao = Bao {
            addr: listen,
            version: String::from_utf8_lossy(&version).trim().to_owned(),
            token: String::new(),
            application: String::new(),
            audit,
            child,
        };
        bao.open();
        Ok(bao)
    }

    fn open(&mut self) {
        let begun = Instant::now();
        while std::net::TcpStream::connect(self.addr).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "OpenBao does not listen");
            assert!(self.child.try_wait().is_ok_and(|end| end.is_none()), "OpenBao has ended");
            std::thread::yield_now();
        }
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys = self.call("PUT", "/v1/sys/init", &shares);
        self.token = keys["root_token"].as_str().unwrap().to_owned();
        self.call("PUT", "/v1/sys/unseal", &json!({"key": keys["keys"][0]}));
        // It answers 503 until it leads.
        while Connection::open_unchecked(self.addr).call("GET", "/v1/sys/health", "", None).status
            != 200
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "OpenBao does not serve");
        }
        self.call("POST", "/v1/sys/mounts/kv", &json!({"type": "kv", "options": {"version": "2"}}));
        // A mount upgrades itself for a moment after it is made.
        let ready = |bao: &Bao| bao.try_call("POST", "/v1/kv/data/first", &value("x")).0 == 200;
        while !ready(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "OpenBao's store is not ready");
        }
        let policy = json!({"policy": POLICY});
        self.call("PUT", "/v1/sys/policies/acl/application", &policy);
        let made =
            self.call("POST", "/v1/auth/token/create", &json!({"policies": ["application"]}));
        self.application = made["auth"]["client_token"].as_str().unwrap().to_owned();
    }

    /// The header of a request by the root token, which costs OpenBao least.
    pub fn header(&self) -> String {
        format!("X-Vault-Token: {}", self.token)
    }

    /// The header of a request by a token that may read values, and nothing else.
    pub fn application_header(&self) -> String {
        format!("X-Vault-Token: {}", self.application)
    }

    /// Empties the audit device's file: what it has to write later is not the next turn's load.
    ///
    /// # Errors
    /// The file's.
    pub fn forget_calls(&self) -> Result<(), Error> {
        self.audit.iter().try_for_each(|path| std::fs::File::create(path).map(|_| ()))
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// Stores so many values of 32 bytes; the paths that read them.
    pub fn fill(&self, count: usize) -> Vec<String> {
        let write = |number: usize| {
            let path = format!("/v1/kv/data/secret-{number}");
            self.call("POST", &path, &value("0123456789abcdef0123456789abcdef"));
            path
        };
        (0..count).map(write).collect()
    }

    /// Resident memory in MiB.
    pub fn memory_mib(&self) -> f64 {
        super::resident_mib(self.child.id())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            if self.token.is_empty() { String::new() } else { format!("{}\r\n", self.header()) },
            body.len()
        );
        let answer = Connection::open_unchecked(self.addr).raw(request.as_bytes());
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn value(text: &str) -> Value {
    json!({"data": {"value": text}})
}

fn free_port() -> Result<SocketAddr, Error> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
