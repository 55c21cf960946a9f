//! `openapi.json`, made from the route table and from the structs and bounds behind it. It is for
//! tests and clients' tools only: no program of ours has it.

mod evidence;
mod operations;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::error::{ApiError, Envelope};
use super::route::{Endpoint, Place};
use crate::access::Permission;
use crate::limits;
use crate::model::{AccountId, ExecutionId, FunctionId, KeyId, Revision, SecretId};
pub use schemas::{
    AnyJson, AttestedConfigObject, PublicKeyText, ReportText, SignatureText, StatusText,
    StoreIdText, TcbObject, TokenText,
};

/// Fields that an answer may lack. All others of an answer are always there.
const MAY_BE_ABSENT: &[(&str, &str)] = &[
    ("Fault", "details"),
    ("Health", "warning"),
    ("ApiKey", "key"),
    ("Account", "adminKey"),
    ("Function", "code"),
    ("Execution", "completedAt"),
    ("Execution", "duration"),
    ("ExecutionRecord", "result"),
    ("ExecutionRecord", "error"),
    ("ExecutionRecord", "receipt"),
];

/// Whom a call asks for.
enum Asks {
    Nothing,
    Permission(Permission),
    Owner,
}

/// One method of one path.
struct Operation {
    summary: &'static str,
    asks: Asks,
    phases: &'static [&'static str],
    parameters: Vec<Value>,
    body: Option<Body>,
    status: u16,
    content: Value,
    /// Another way to succeed.
    also: Option<(StatusCode, Value)>,
    headers: Vec<&'static str>,
    failures: Vec<ApiError>,
}

/// The fields of a body; the parser's list of them says which there are.
struct Body {
    fields: &'static [&'static str],
    described: Vec<&'static str>,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    properties_min: usize,
    other: Option<Box<Body>>,
}

/// The document's schemas, by name.
#[derive(Default)]
struct Schemas(BTreeMap<String, Value>);

impl Operation {
    fn new(summary: &'static str, asks: Asks) -> Self {
        Operation {
            summary,
            asks,
            phases: &[],
            parameters: Vec::new(),
            body: None,
            status: 0,
            content: Value::Null,
            also: None,
            headers: Vec::new(),
            failures: vec![ApiError::invalid(""), ApiError::PayloadTooLarge],
        }
    }

    fn in_phases(self, phases: &'static [&'static str]) -> Self {
        Operation { phases, ..self }
    }

    /// The query's parameters: name, whether it must be there, schema. `known` is the parser's list.
    fn query<const N: usize>(
        mut self,
        known: &[&str],
        parameters: [(&'static str, bool, Value); N],
    ) -> Self {
        assert_eq!(parameters.each_ref().map(|(name, ..)| *name), *known, "{}", self.summary);
        self.parameters.extend(parameters.map(|(name, required, schema)| {
            json!({"name": name, "in": "query", "required": required, "schema": schema})
        }));
        self
    }

    fn if_match(mut self, schema: Value) -> Self {
        self.parameters.push(json!({"name": "If-Match", "in": "header", "schema": schema}));
        self.fails(ApiError::PreconditionFailed)
    }

    fn takes(mut self, body: Body) -> Self {
        self.body = Some(body);
        self.fails(ApiError::UnsupportedMediaType)
    }

    fn answers(self, status: u16, schema: Value) -> Self {
        Operation { status, content: json!({"application/json": {"schema": schema}}), ..self }
    }

    fn also_answers(self, status: StatusCode, schema: Value) -> Self {
        let content = json!({"application/json": {"schema": schema}});
        Operation { also: Some((status, content)), ..self }
    }

    fn answers_text(self, status: u16, content_type: &str) -> Self {
        let content = json!({content_type: {"schema": {"type": "string"}}});
        Operation { status, content, ..self }
    }

    fn with_header(mut self, name: &'static str) -> Self {
        self.headers.push(name);
        self
    }

    fn fails(mut self, error: ApiError) -> Self {
        self.failures.push(error);
        self
    }

    /// Adds what follows from the path, and from whom the call asks for.
    fn at(mut self, template: &str) -> Self {
        if !matches!(self.asks, Asks::Nothing) {
            self.headers.extend(RATE_HEADERS);
            self.failures.extend([
                ApiError::Unauthorized,
                ApiError::Forbidden("".into()),
                ApiError::RateLimited { retry_after_seconds: 1 },
                ApiError::Internal,
                ApiError::unavailable(""),
            ]);
        }
        if template.contains("{id}") {
            self.failures.push(ApiError::NotFound);
        }
        self.headers.extend(EVERY_HEADER);
        self.parameters.push(json!({"$ref": "#/components/parameters/X-Request-ID"}));
        self
    }

    /// The OpenAPI object; `id` names it.
    fn to_json(&self, id: &str, template: &str) -> Value {
        let (permission, security) = match self.asks {
            Asks::Nothing => ("none", json!([])),
            Asks::Permission(permission) => (permission.as_str(), either_header()),
            Asks::Owner => ("owner", either_header()),
        };
        let headers: Map<_, _> = self.headers.iter().map(|name| header_reference(name)).collect();
        let success = StatusCode::from_u16(self.status).expect("a status");
        let mut success = vec![(success, headers.clone(), &self.content)];
        if let Some((status, content)) = &self.also {
            let mut headers = headers;
            headers.extend([header_reference("Location")]);
            success.push((*status, headers, content));
        }
        let successes = success.into_iter().map(|(status, headers, content)| {
            let description = status.canonical_reason();
            let success =
                json!({"description": description, "headers": headers, "content": content});
            (status.as_u16().to_string(), success)
        });
        let failures = self.failures.iter().map(|error| {
            let reference = json!({"$ref": format!("#/components/responses/{}", error.code())});
            (error.status().as_str().to_owned(), reference)
        });
        let responses: Map<_, _> = failures.chain(successes).collect();
        let tag = template.split('/').nth(2).unwrap_or("instance");
        let mut operation = json!({
            "operationId": id, "summary": self.summary, "tags": [tag],
            "parameters": self.parameters, "responses": responses, "security": security,
            "x-permission": permission, "x-phases": self.phases,
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = body.to_json();
        }
        operation
    }
}

/// Where a key may stand.
fn either_header() -> Value {
    json!([{"bearer": []}, {"apiKey": []}])
}

impl Body {
    fn new(fields: &'static [&'static str]) -> Self {
        let (described, properties, required) = (Vec::new(), Map::new(), Vec::new());
        Body { fields, described, properties, required, properties_min: 0, other: None }
    }

    fn required(mut self, name: &'static str, schema: Value) -> Self {
        self.required.push(name);
        self.optional(name, schema)
    }

    fn optional(mut self, name: &'static str, schema: Value) -> Self {
        self.described.push(name);
        self.properties.insert(name.to_owned(), schema);
        self
    }

    fn nullable(self, name: &'static str, schema: Value) -> Self {
        self.optional(name, json!({"anyOf": [schema, {"type": "null"}]}))
    }

    /// A field that the parser knows only in order to refuse it with a reason of its own.
    fn refused(mut self, name: &'static str) -> Self {
        self.described.push(name);
        self
    }

    fn not_empty(self) -> Self {
        Body { properties_min: 1, ..self }
    }

    /// Either this one or the other.
    fn or(self, other: Body) -> Self {
        Body { other: Some(Box::new(other)), ..self }
    }

    fn to_json(&self) -> Value {
        json!({"required": true, "content": {"application/json": {"schema": self.schema()}}})
    }

    fn schema(&self) -> Value {
        let sorted = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(sorted(&self.described), sorted(self.fields), "not the fields that are parsed");
        let mut schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": self.properties, "required": self.required,
        });
        if self.properties_min > 0 {
            schema["minProperties"] = json!(self.properties_min);
        }
        match &self.other {
            Some(other) => json!({"anyOf": [schema, other.schema()]}),
            None => schema,
        }
    }
}

impl Schemas {
    /// A reference to a type's schema.
    fn of<T: ToSchema>(&mut self) -> Value {
        let mut found: Vec<(String, RefOr<Schema>)> = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        for (name, schema) in found {
            self.insert(name, schema);
        }
        reference(&T::name())
    }

    /// As [`Schemas::of`], for the struct of an answer.
    fn answer<T: ToSchema>(&mut self) -> Value {
        self.of::<T>()
    }

    /// As [`Schemas::answer`], for a generic struct, whose own name is none.
    fn answer_as<T: ToSchema>(&mut self, name: &str) -> Value {
        self.of::<T>();
        let schema = self.0.remove(T::name().as_ref()).expect("just put there");
        self.named(name, schema)
    }

    fn named(&mut self, name: &str, schema: Value) -> Value {
        self.0.insert(name.to_owned(), schema);
        reference(name)
    }

    /// A derived schema is an answer's: all its fields are there, and no others. One that says
    /// more of itself was written by hand.
    fn insert(&mut self, name: String, schema: RefOr<Schema>) {
        let mut schema = serde_json::to_value(schema).expect("a schema");
        let derived = schema.get("additionalProperties").is_none();
        if let Some(properties) = schema.get("properties").and_then(Value::as_object)
            && derived
        {
            let absent =
                |field: &&String| !MAY_BE_ABSENT.contains(&(name.as_str(), field.as_str()));
            let required: Vec<_> = properties.keys().filter(absent).cloned().collect();
            schema["required"] = json!(required);
            schema["additionalProperties"] = json!(false);
        }
        self.0.insert(name, schema);
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

const RATE_HEADERS: [&str; 3] = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
const EVERY_HEADER: [&str; 2] = ["X-Request-ID", "Cache-Control"];

fn header_reference(name: &str) -> (String, Value) {
    (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))
}

fn headers(schemas: &mut Schemas) -> Value {
    let count = |description| json!({"description": description, "schema": {"type": "integer", "minimum": 0}});
    json!({
        "X-Request-ID": {
            "description": "The caller's, where it is one, else a new one: finds the call in the log",
            "schema": request_id(),
        },
        "Cache-Control": {"schema": {"type": "string", "enum": ["no-store"]}},
        "ETag": {"description": "The secret's revision", "schema": schemas.of::<Revision>()},
        "Location": {"description": "The new object's path", "schema": {"type": "string", "pattern": "^/v1/"}},
        "X-RateLimit-Limit": count("Calls that a full bucket of this key holds"),
        "X-RateLimit-Remaining": count("Calls left"),
        "X-RateLimit-Reset": count("When the bucket is full again, in seconds since 1970"),
        "Retry-After": count("Seconds until a call passes"),
        "WWW-Authenticate": {"schema": {"type": "string", "enum": ["Bearer"]}},
    })
}

fn request_id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": limits::REQUEST_ID_BYTES, "pattern": "^[!-~]+$"})
}

/// When each failure comes. 405 has no call of its own.
fn when(error: &ApiError) -> &'static str {
    match error {
        ApiError::Invalid { .. } => {
            "Malformed, missing or out of range; `details` names the field, or what is wrong with code"
        }
        ApiError::Unauthorized => "No key, or one that is unknown, revoked or expired",
        ApiError::Forbidden(_) => "The key may not do this; `message` says what it lacks",
        ApiError::UnknownPath | ApiError::NotFound => "No such object for this key",
        ApiError::MethodNotAllowed { .. } => "The path does not have this method",
        ApiError::Conflict(_) => "Something is in the way, which `message` names",
        ApiError::PreconditionFailed => "`If-Match` is not the current revision",
        ApiError::PayloadTooLarge => "The body is larger than this call takes",
        ApiError::UnsupportedMediaType => "The body is not `application/json` in UTF-8",
        ApiError::RateLimited { .. } => "Too many calls, or all workers are busy",
        ApiError::FunctionCompile { .. } | ApiError::MemoryLimitExceeded { .. } => {
            unreachable!("described with what is malformed")
        }
        ApiError::ExecutionFailed { .. } => unreachable!("described with faults of the server"),
        ApiError::Busy => unreachable!("described with too many calls"),
        ApiError::ExecutionTimeout { .. } => "The function took more time than it may",
        ApiError::Internal => "A fault of the server, or an error that a function threw",
        ApiError::Unavailable { .. } => "Not in this phase, or not now",
        ApiError::QuotaExceeded(_) => "A quota is used up, which `message` names",
    }
}

fn failure(error: &ApiError, schemas: &mut Schemas) -> Value {
    let own: &[&str] = match error {
        ApiError::Unauthorized => &["WWW-Authenticate"],
        ApiError::RateLimited { .. } => &["Retry-After"],
        _ => &[],
    };
    let names = own.iter().chain(&EVERY_HEADER).chain(&RATE_HEADERS);
    let headers: Map<_, _> = names.map(|name| header_reference(name)).collect();
    // What has the same status as another failure is described with it.
    let codes: &[&str] = match error {
        ApiError::Invalid { .. } => {
            &["INVALID_REQUEST", "FUNCTION_COMPILE_ERROR", "MEMORY_LIMIT_EXCEEDED"]
        }
        ApiError::Internal => &["INTERNAL_ERROR", "EXECUTION_ERROR"],
        error => &[error.code()],
    };
    let code = json!({"properties": {"error": {"properties": {"code": {"enum": codes}}}}});
    let schema = json!({"allOf": [schemas.of::<Envelope<'_>>(), code]});
    json!({
        "description": when(error), "headers": headers,
        "content": {"application/json": {"schema": schema}},
    })
}

/// Whose id a path has.
fn id_of(template: &str, schemas: &mut Schemas) -> Value {
    match template.split('/').nth(2) {
        Some("secrets") => schemas.of::<SecretId>(),
        Some("api-keys") => schemas.of::<KeyId>(),
        Some("accounts") => schemas.of::<AccountId>(),
        Some("functions") => schemas.of::<FunctionId>(),
        _ => panic!("{template}: whose id is it?"),
    }
}

/// The whole document.
fn document() -> Value {
    let mut schemas = Schemas::default();
    let (mut paths, mut responses) = (Map::new(), Map::new());
    for place in Place::all().filter(|place| *place != Place::NOWHERE) {
        let (template, mut path) = (place.template(), Map::new());
        if template.contains("{id}") {
            let schema = id_of(template, &mut schemas);
            let in_path = |name: &str, schema: Value| json!({"name": name, "in": "path", "required": true, "schema": schema});
            let mut ids = vec![in_path("id", schema)];
            if template.contains("{execution}") {
                ids.push(in_path("execution", schemas.of::<ExecutionId>()));
            }
            path.insert("parameters".to_owned(), json!(ids));
        }
        for (method, endpoint) in place.methods() {
            let operation = operations::describe(*endpoint, &mut schemas).at(template);
            for error in &operation.failures {
                responses.insert(error.code().to_owned(), failure(error, &mut schemas));
            }
            let id = match endpoint {
                Endpoint::Keyed(keyed) => format!("{keyed:?}"),
                Endpoint::Keyless(keyless) => format!("{keyless:?}"),
            };
            let method = method.as_str().to_ascii_lowercase();
            path.insert(method, operation.to_json(&id, template));
        }
        paths.insert(template.to_owned(), Value::Object(path));
    }
    let headers = headers(&mut schemas);
    let request_id = json!({
        "name": "X-Request-ID", "in": "header", "schema": {"type": "string"},
        "description": "1 to 128 visible ASCII characters; anything else is replaced by a new one",
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Neo Secrets",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.0,
            "responses": responses,
            "headers": headers,
            "parameters": {"X-Request-ID": request_id},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    })
}

const DESCRIPTION: &str = "A secrets service that its own operator can't read. `x-permission` is \
    what the key must have: a permission, `owner` for the owner's key, or `none`. `x-phases` are \
    the phases in which a call can succeed; in all others it answers 503. HEAD does what GET does. \
    A method that a path does not have is 405, a path that there is not 404, both as any failure. \
    A client that is to trust the answers verifies the machine's evidence first, on the same \
    connection.";

/// Where it lies.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

/// Every `$ref` below `value` that leads nowhere in `document`.
fn dangling(value: &Value, document: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            let dangles = |path: &&str| document.pointer(path.trim_start_matches('#')).is_none();
            let own = reference.filter(dangles).map(str::to_owned);
            let below = fields.values().flat_map(|value| dangling(value, document));
            own.into_iter().chain(below).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| dangling(item, document)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn openapi_json_is_what_the_code_says() {
    let document = document();
    assert_eq!(dangling(&document, &document), [""; 0]);
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(FILE, &text).expect("server/openapi.json is written");
    }
    assert!(
        std::fs::read_to_string(FILE).unwrap_or_default() == text,
        "server/openapi.json is not what the code says; to write it anew:\n  \
         UPDATE_OPENAPI=1 cargo test --release -p neo-secrets-server openapi"
    );
}
