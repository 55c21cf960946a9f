//! The route table: paths, their methods, and what each does.

use actix_web::HttpRequest;
use actix_web::http::Method;

use super::body::Body;
use super::error::ApiError;
use super::request::Call;
use super::{
    Answer, Api, accounts, attestation, audit, claim, clock, configuration, endorsements,
    executions, functions, health, invoke, keys, metrics, seal, secrets,
};
use crate::audit::Origin;

/// What a method of a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Needs no key.
    Keyless(Keyless),
    /// Needs an open store and an API key.
    Keyed(Keyed),
}

/// A call without an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyless {
    /// `/healthz`
    Live,
    /// `/readyz`
    Ready,
    /// `/v1/attestation`
    Attestation,
    /// `GET /v1/attestation/report`
    LastReport,
    /// `PUT /v1/attestation/certificates`
    KeepCertificates,
    /// `PUT /v1/attestation/crl`
    KeepCrl,
    /// `/v1/claim`
    Claim,
    /// `GET /v1/configuration`
    Configuration,
    /// `PUT /v1/configuration`
    AcceptConfiguration,
    /// `GET /v1/clock`
    Clock,
    /// `PUT /v1/clock`
    SetClock,
}

/// A call with an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// `GET /v1/secrets`
    ListSecrets,
    /// `POST /v1/secrets`
    CreateSecret,
    /// `GET /v1/secrets/{id}`
    ReadSecret,
    /// `PUT /v1/secrets/{id}`
    UpdateSecret,
    /// `DELETE /v1/secrets/{id}`
    DeleteSecret,
    /// `GET /v1/secrets/{id}/versions`
    ListVersions,
    /// `POST /v1/secrets/{id}/rollback`
    RollbackSecret,
    /// `GET /v1/secrets/{id}/value`
    RevealSecret,
    /// `GET /v1/functions`
    ListFunctions,
    /// `POST /v1/functions`
    CreateFunction,
    /// `GET /v1/functions/{id}`
    ReadFunction,
    /// `PUT /v1/functions/{id}`
    UpdateFunction,
    /// `DELETE /v1/functions/{id}`
    DeleteFunction,
    /// `PUT /v1/functions/{id}/secrets`
    SetFunctionSecrets,
    /// `POST /v1/functions/{id}/confirm`
    ConfirmFunction,
    /// `POST /v1/functions/{id}/invoke`
    InvokeFunction,
    /// `GET /v1/functions/{id}/executions`
    ListExecutions,
    /// `GET /v1/functions/{id}/executions/{execution}`
    ReadExecution,
    /// `GET /v1/accounts`
    ListAccounts,
    /// `POST /v1/accounts`
    CreateAccount,
    /// `GET /v1/accounts/{id}`
    ReadAccount,
    /// `PUT /v1/accounts/{id}`
    UpdateAccount,
    /// `DELETE /v1/accounts/{id}`
    DeleteAccount,
    /// `GET /v1/audit-log`
    AuditLog,
    /// `GET /metrics`
    Metrics,
    /// `GET /v1/seal`
    SealState,
    /// `GET /v1/api-keys`
    ListKeys,
    /// `POST /v1/api-keys`
    CreateKey,
    /// `DELETE /v1/api-keys/{id}`
    RevokeKey,
    /// `POST /v1/api-keys/{id}/rotate`
    RotateKey,
}

impl Keyless {
    /// Does it.
    pub(super) async fn call(
        self,
        api: &Api,
        request: &HttpRequest,
        body: &mut Body,
        origin: &Origin,
    ) -> Result<Answer, ApiError> {
        let query = request.query_string();
        match self {
            Keyless::Live => health::live(query, body).await,
            Keyless::Ready => health::ready(&api.instance, query, body).await,
            Keyless::Attestation => attestation::evidence(api, request, query, body).await,
            Keyless::LastReport => endorsements::report(api, query, body).await,
            Keyless::KeepCertificates => endorsements::keep_chain(api, request, query, body).await,
            Keyless::KeepCrl => endorsements::keep_crl(api, request, query, body).await,
            Keyless::Configuration => configuration::waiting(api, query, body).await,
            Keyless::AcceptConfiguration => {
                configuration::accept(api, request, origin, query, body).await
            }
            Keyless::Clock => clock::show(api, query, body).await,
            Keyless::SetClock => clock::set(api, request, origin, query, body).await,
            Keyless::Claim => claim::claim(api, request, query, body).await,
        }
    }
}

impl Keyed {
    /// Does it.
    pub async fn call(self, mut call: Call<'_>) -> Result<Answer, ApiError> {
        match self {
            Keyed::ListSecrets => secrets::list(call).await,
            Keyed::CreateSecret => secrets::create(call).await,
            Keyed::ReadSecret => secrets::read(&mut call).await,
            Keyed::UpdateSecret => secrets::update(call).await,
            Keyed::DeleteSecret => secrets::delete(call).await,
            Keyed::ListVersions => secrets::versions(call).await,
            Keyed::RollbackSecret => secrets::rollback(call).await,
            Keyed::RevealSecret => secrets::reveal(call).await,
            Keyed::ListFunctions => functions::list(call).await,
            Keyed::CreateFunction => functions::create(call).await,
            Keyed::ReadFunction => functions::read(call).await,
            Keyed::UpdateFunction => functions::update(call).await,
            Keyed::DeleteFunction => functions::delete(call).await,
            Keyed::SetFunctionSecrets => functions::set_secrets(call).await,
            Keyed::ConfirmFunction => functions::confirm(call).await,
            Keyed::InvokeFunction => invoke::invoke(call).await,
            Keyed::ListExecutions => executions::list(call).await,
            Keyed::ReadExecution => executions::read(call).await,
            Keyed::ListAccounts => accounts::list(call).await,
            Keyed::CreateAccount => accounts::create(call).await,
            Keyed::ReadAccount => accounts::read(call).await,
            Keyed::UpdateAccount => accounts::update(call).await,
            Keyed::DeleteAccount => accounts::delete(call).await,
            Keyed::AuditLog => audit::list(call).await,
            Keyed::Metrics => metrics::metrics(call).await,
            Keyed::SealState => seal::state(call).await,
            Keyed::ListKeys => keys::list(call).await,
            Keyed::CreateKey => keys::create(call).await,
            Keyed::RevokeKey => keys::revoke(call).await,
            Keyed::RotateKey => keys::rotate(call).await,
        }
    }
}

struct Route {
    template: &'static str,
    /// How much of the template stands before its first id.
    fixed: usize,
    methods: &'static [(Method, Endpoint)],
}

const fn route(template: &'static str, methods: &'static [(Method, Endpoint)]) -> Route {
    let (mut fixed, bytes) = (0, template.as_bytes());
    while fixed < bytes.len() && bytes[fixed] != b'{' {
        fixed += 1;
    }
    Route { template, fixed, methods }
}

const ROUTES: &[Route] = &[
    route("/healthz", &[(Method::GET, Endpoint::Keyless(Keyless::Live))]),
    route("/readyz", &[(Method::GET, Endpoint::Keyless(Keyless::Ready))]),
    route("/metrics", &[(Method::GET, Endpoint::Keyed(Keyed::Metrics))]),
    route("/v1/attestation", &[(Method::GET, Endpoint::Keyless(Keyless::Attestation))]),
    route("/v1/attestation/report", &[(Method::GET, Endpoint::Keyless(Keyless::LastReport))]),
    route(
        "/v1/attestation/certificates",
        &[(Method::PUT, Endpoint::Keyless(Keyless::KeepCertificates))],
    ),
    route("/v1/attestation/crl", &[(Method::PUT, Endpoint::Keyless(Keyless::KeepCrl))]),
    route(
        "/v1/configuration",
        &[
            (Method::GET, Endpoint::Keyless(Keyless::Configuration)),
            (Method::PUT, Endpoint::Keyless(Keyless::AcceptConfiguration)),
        ],
    ),
    route(
        "/v1/clock",
        &[
            (Method::GET, Endpoint::Keyless(Keyless::Clock)),
            (Method::PUT, Endpoint::Keyless(Keyless::SetClock)),
        ],
    ),
    route("/v1/claim", &[(Method::POST, Endpoint::Keyless(Keyless::Claim))]),
    route(
        "/v1/secrets",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ListSecrets)),
            (Method::POST, Endpoint::Keyed(Keyed::CreateSecret)),
        ],
    ),
    route(
        "/v1/secrets/{id}",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ReadSecret)),
            (Method::PUT, Endpoint::Keyed(Keyed::UpdateSecret)),
            (Method::DELETE, Endpoint::Keyed(Keyed::DeleteSecret)),
        ],
    ),
    route("/v1/secrets/{id}/versions", &[(Method::GET, Endpoint::Keyed(Keyed::ListVersions))]),
    route("/v1/secrets/{id}/rollback", &[(Method::POST, Endpoint::Keyed(Keyed::RollbackSecret))]),
    route("/v1/seal", &[(Method::GET, Endpoint::Keyed(Keyed::SealState))]),
    route("/v1/secrets/{id}/value", &[(Method::GET, Endpoint::Keyed(Keyed::RevealSecret))]),
    route(
        "/v1/functions",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ListFunctions)),
            (Method::POST, Endpoint::Keyed(Keyed::CreateFunction)),
        ],
    ),
    route(
        "/v1/functions/{id}",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ReadFunction)),
            (Method::PUT, Endpoint::Keyed(Keyed::UpdateFunction)),
            (Method::DELETE, Endpoint::Keyed(Keyed::DeleteFunction)),
        ],
    ),
    route(
        "/v1/functions/{id}/secrets",
        &[(Method::PUT, Endpoint::Keyed(Keyed::SetFunctionSecrets))],
    ),
    route("/v1/functions/{id}/confirm", &[(Method::POST, Endpoint::Keyed(Keyed::ConfirmFunction))]),
    route("/v1/functions/{id}/invoke", &[(Method::POST, Endpoint::Keyed(Keyed::InvokeFunction))]),
    route(
        "/v1/functions/{id}/executions",
        &[(Method::GET, Endpoint::Keyed(Keyed::ListExecutions))],
    ),
    route(
        "/v1/functions/{id}/executions/{execution}",
        &[(Method::GET, Endpoint::Keyed(Keyed::ReadExecution))],
    ),
    route(
        "/v1/accounts",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ListAccounts)),
            (Method::POST, Endpoint::Keyed(Keyed::CreateAccount)),
        ],
    ),
    route(
        "/v1/accounts/{id}",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ReadAccount)),
            (Method::PUT, Endpoint::Keyed(Keyed::UpdateAccount)),
            (Method::DELETE, Endpoint::Keyed(Keyed::DeleteAccount)),
        ],
    ),
    route("/v1/audit-log", &[(Method::GET, Endpoint::Keyed(Keyed::AuditLog))]),
    route(
        "/v1/api-keys",
        &[
            (Method::GET, Endpoint::Keyed(Keyed::ListKeys)),
            (Method::POST, Endpoint::Keyed(Keyed::CreateKey)),
        ],
    ),
    route("/v1/api-keys/{id}", &[(Method::DELETE, Endpoint::Keyed(Keyed::RevokeKey))]),
    route("/v1/api-keys/{id}/rotate", &[(Method::POST, Endpoint::Keyed(Keyed::RotateKey))]),
];

/// Where in the table a path stands, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

impl Place {
    /// Of all paths that are not in the table.
    pub const NOWHERE: Self = Self(ROUTES.len());
    /// Places, [`Place::NOWHERE`] included.
    pub const COUNT: usize = ROUTES.len() + 1;

    /// All, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Below [`Place::COUNT`].
    pub fn index(self) -> usize {
        self.0
    }

    /// The path as in the table, or "none"; safe to log.
    pub fn template(self) -> &'static str {
        ROUTES.get(self.0).map_or("none", |route| route.template)
    }

    /// Its methods; HEAD goes with GET.
    #[cfg(test)]
    pub fn methods(self) -> &'static [(Method, Endpoint)] {
        ROUTES.get(self.0).map_or(&[], |route| route.methods)
    }

    /// Whether a path of the table has this method.
    pub fn has(self, method: &str) -> bool {
        let route = ROUTES.get(self.0);
        route.is_some_and(|route| route.methods.iter().any(|(known, _)| known == method))
    }
}

/// A path of the table, and the ids in it ("" where it has none).
pub struct Found<'p> {
    /// Where it stands.
    pub place: Place,
    /// As the caller wrote them: the object's, and that of what is part of it.
    pub ids: [&'p str; 2],
    methods: &'static [(Method, Endpoint)],
}

/// Finds a path. Paths and ids have one spelling: a percent-encoded one is another path.
pub fn find(path: &str) -> Option<Found<'_>> {
    ROUTES.iter().enumerate().find_map(|(index, route)| {
        let (fixed, pattern) = route.template.split_at(route.fixed);
        // Most are told apart by one byte.
        if path.as_bytes().get(route.fixed - 1) != fixed.as_bytes().last() {
            return None;
        }
        let ids = ids_in(path.strip_prefix(fixed)?, pattern)?;
        Some(Found { place: Place(index), ids, methods: route.methods })
    })
}

/// The ids in what follows the fixed part of a path, if it is as the template has it.
fn ids_in<'p>(rest: &'p str, pattern: &str) -> Option<[&'p str; 2]> {
    if pattern.is_empty() {
        return rest.is_empty().then_some(["", ""]);
    }
    let (mut parts, mut id, mut of_part) = (rest.split('/'), "", "");
    for expected in pattern.split('/') {
        let part = parts.next()?;
        match expected {
            "{id}" if !part.is_empty() => id = part,
            "{execution}" if !part.is_empty() => of_part = part,
            _ if part == expected => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some([id, of_part])
}

impl Found<'_> {
    /// What this method does here. `HEAD` does what `GET` does; the connection leaves the body out.
    ///
    /// # Errors
    /// 405
    pub fn endpoint(&self, method: &Method) -> Result<Endpoint, ApiError> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match self.methods.iter().find(|(known, _)| known == method) {
            Some((_, endpoint)) => Ok(*endpoint),
            None => {
                let names = self.methods.iter().map(|(known, _)| match *known {
                    Method::GET => "GET, HEAD",
                    ref other => other.as_str(),
                });
                Err(ApiError::MethodNotAllowed { allow: names.collect::<Vec<_>>().join(", ") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_paths_by_their_one_spelling() {
        let id = |path| find(path).map(|found| (found.place.template(), found.ids[0]));
        assert_eq!(id("/v1/secrets"), Some(("/v1/secrets", "")));
        assert_eq!(id("/v1/secrets/sec_x"), Some(("/v1/secrets/{id}", "sec_x")));
        let versions = "/v1/secrets/{id}/versions";
        assert_eq!(id("/v1/secrets/versions/versions"), Some((versions, "versions")));
        assert_eq!(id("/v1/api-keys/k/rotate"), Some(("/v1/api-keys/{id}/rotate", "k")));
        let execution = find("/v1/functions/f/executions/e").unwrap();
        assert_eq!(execution.place.template(), "/v1/functions/{id}/executions/{execution}");
        assert_eq!(execution.ids, ["f", "e"]);
        for path in [
            "",
            "/",
            "*",
            "/v1/functions/f/executions/",
            "/v1/functions//executions/e",
            "/v1/functions/f/executions/e/x",
            "/v1",
            "/v1/secrets/",
            "/v1/secrets/x/",
            "/v1/secrets/x/y",
            "//v1/secrets",
            "/V1/secrets",
            "/v1/%73ecrets",
            "/v1/api-keys//rotate",
            "/v1/secrets//versions",
            "/v1/secrets/x/rollback/",
            "/v1/secrets/{id}/z",
        ] {
            assert_eq!(id(path), None, "{path}");
        }
    }

    #[test]
    fn names_the_methods_that_a_path_has() {
        let allow = |path, method: &Method| find(path).unwrap().endpoint(method);
        assert_eq!(allow("/healthz", &Method::HEAD), Ok(Endpoint::Keyless(Keyless::Live)));
        let refused = |allow: &str| Err(ApiError::MethodNotAllowed { allow: allow.to_owned() });
        assert_eq!(allow("/v1/secrets", &Method::PATCH), refused("GET, HEAD, POST"));
        assert_eq!(allow("/v1/secrets/x", &Method::POST), refused("GET, HEAD, PUT, DELETE"));
        assert_eq!(allow("/v1/secrets/x/versions", &Method::POST), refused("GET, HEAD"));
        assert_eq!(allow("/v1/secrets/x/rollback", &Method::GET), refused("POST"));
        assert_eq!(allow("/v1/claim", &Method::GET), refused("POST"));
        assert_eq!(allow("/v1/claim", &Method::HEAD), refused("POST"));
    }
}
