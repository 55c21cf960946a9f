//! Load by wrk, and what it says of it.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

/// One run's figures. Times are the callers', in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Figures {
    /// Of how long each piece of work took, in any order, where each did `operations` within `total`.
    pub fn of(mut times: Vec<Duration>, operations: usize, total: Duration) -> Self {
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        let per_second = (times.len() * operations) as f64 / total.as_secs_f64();
        Figures { per_second, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }

    /// Of a line `figures {..}` among others.
    ///
    /// # Errors
    /// No such line, or not all of them.
    pub fn read(text: &str) -> Result<(Figures, Value), Error> {
        let wrong = || Error::new(ErrorKind::InvalidData, format!("no figures: {text:?}"));
        let line = text.lines().find_map(|line| line.strip_prefix("figures "));
        let json: Value = serde_json::from_str(line.ok_or_else(wrong)?)?;
        let number = |name: &str| json[name].as_f64().ok_or_else(wrong);
        let figures = Figures {
            per_second: number("perSecond")?,
            p50: number("p50")?,
            p99: number("p99")?,
            max: number("max")?,
        };
        Ok((figures, json))
    }

    pub fn to_json(self) -> Value {
        json!({"perSecond": self.per_second, "p50": self.p50, "p99": self.p99, "max": self.max})
    }
}

/// What each request is.
pub enum Requests {
    /// GET of one of these paths, each time another, with the header at the same place of the
    /// second list; where that has one, always this.
    Read { paths: Vec<String>, headers: Vec<String> },
    /// POST of new objects to this path, or to a path of their own below it. `NAME` in the path and
    /// in the body is a name that no other run has.
    Create { path: String, header: String, body: String },
    /// Nine times in ten the first, else the second.
    Mixed { paths: Vec<String>, header: String, path: String, body: String },
    /// GET of this path with a nonce of its own each time, which takes the place of `NONCE`.
    Nonce { path: String },
}

/// A run of wrk: `connections` to `url` for this long, with two threads.
pub struct Load<'a> {
    pub url: &'a str,
    pub connections: usize,
    pub time: Duration,
    pub requests: &'a Requests,
}

impl Load<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// No wrk; a request that was not answered, or not with a 2xx.
    pub fn run(&self, scratch: &Path) -> Result<Figures, Error> {
        let script = self.write(scratch)?;
        let seconds = self.time.as_secs().max(1).to_string();
        let mut command = Command::new("wrk");
        command.args(["--threads", "2", "--duration", &seconds, "--timeout", "30s"]);
        command.args(["--connections", &self.connections.max(2).to_string()]);
        let out = command.arg("--script").arg(script).arg(self.url).output()?;
        let (figures, json) = Figures::read(&String::from_utf8_lossy(&out.stdout))
            .map_err(|error| Error::other(format!("wrk: {error}: {out:?}")))?;
        match (json["errors"].as_u64(), json["requests"].as_u64()) {
            (Some(0), Some(1..)) => Ok(figures),
            _ => Err(Error::new(ErrorKind::InvalidData, format!("wrk: {out:?}"))),
        }
    }

    /// The script, and the lists that it reads.
    fn write(&self, scratch: &Path) -> Result<PathBuf, Error> {
        let lines = |name: &str, lines: &[String]| {
            let path = scratch.join(name);
            std::fs::write(&path, lines.join("\n"))
                .map(|()| format!("{:?}", path.display().to_string()))
        };
        let mut lua = String::from(COMMON);
        let mut prepare = |text: String| {
            let _ = writeln!(lua, "function prepare()\n{text}\nend");
        };
        let template = |path: &str, header: &str, body: &str| {
            format!("creation = template({path:?}, {header:?}, [=[{body}]=])")
        };
        let request = match self.requests {
            Requests::Read { paths, headers } => {
                let (paths, headers) = (lines("paths", paths)?, lines("headers", headers)?);
                prepare(format!("reads = ready({paths}, {headers})"));
                "return reads[math.random(#reads)]"
            }
            Requests::Create { path, header, body } => {
                prepare(template(path, header, body));
                "return (creation:gsub(MARK, new_name()))"
            }
            Requests::Mixed { paths, header, path, body } => {
                let headers = lines("headers", std::slice::from_ref(header))?;
                let reads = format!("reads = ready({}, {headers})", lines("paths", paths)?);
                prepare(format!("{reads}\n{}", template(path, header, body)));
                "if math.random(10) > 1 then return reads[math.random(#reads)] end\n\
                 return (creation:gsub(MARK, new_name()))"
            }
            Requests::Nonce { path } => {
                prepare(format!("path = {path:?}"));
                "return wrk.format('GET', (path:gsub('NONCE', nonce())))"
            }
        };
        let _ = writeln!(lua, "function request()\n{request}\nend");
        let script = scratch.join("load.lua");
        std::fs::write(&script, lua)?;
        Ok(script)
    }
}

/// What every script has: requests are made before the run, as far as they are the same, so that the
/// load takes little of the machine. Each run and each thread names its objects by another beginning.
const COMMON: &str = r#"
local threads = 0
function setup(thread) threads = threads + 1; thread:set('id', threads) end
function init(args)
  local f = io.open('/dev/urandom', 'rb'); local b = f:read(8); f:close()
  run = b:gsub('.', function(c) return string.format('%02x', c:byte()) end)
  math.randomseed(b:byte(1) * 16777216 + b:byte(2) * 65536 + b:byte(3) * 256 + b:byte(4)); count = 0
  prepare()
end
MARK = string.rep('N', 26)
function new_name() count = count + 1; return string.format('n%s-%08x', run, count) end
function nonce() count = count + 1; return run .. string.format('%016x', count) end
function list(file) local t = {}; for line in io.lines(file) do t[#t + 1] = line end; return t end
function head(line) local name, value = line:match('^([^:]+): (.*)$'); return name and { [name] = value } or {} end
function heads(file) local t = {}; for _, line in ipairs(list(file)) do t[#t + 1] = head(line) end; return t end
function ready(paths, headers)
  local t, h = {}, heads(headers)
  for i, path in ipairs(list(paths)) do t[i] = wrk.format('GET', path, h[#h == 1 and 1 or i]) end
  return t
end
function template(path, header, body)
  local h = head(header); h['Content-Type'] = 'application/json'
  return wrk.format('POST', (path:gsub('NAME', MARK)), h, (body:gsub('NAME', MARK)))
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('figures {"requests":%d,"perSecond":%f,"errors":%d,"p50":%f,"p99":%f,"max":%f}\n',
    summary.requests, summary.requests / summary.duration * 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"#;
