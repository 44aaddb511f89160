//! The contract as a document (OpenAPI 3.1), made from the routes themselves: a route cannot be served and not be in
//! it. What the layers around the routes may answer is added to all of them here, and not written down at each.

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use bytes::Bytes;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, License, OpenApi, PathItem, Ref, RefOr, Response, Schema,
};

use super::error::{ErrorBody, Problem};
use super::events::{ChainEvent, LaggedEvent, LogEvent, PluginEvent};

/// The name of the one way in.
const BEARER: &str = "bearer";

const DESCRIPTION: &str = "Everything an operator can see and change of a running gateway. Every route but `/healthz` \
                           asks for the admin token. Every error has one shape: a code for programs, a message for \
                           people, and details. Pages of other origins get nothing: there is no CORS.";

/// What may be answered instead of what a route itself answers.
struct Instead {
    status: &'static str,
    name: &'static str,
    meaning: &'static str,
    /// Which routes may be answered so.
    by: fn(&HttpMethod, &Operation) -> bool,
}

const INSTEAD: [Instead; 8] = [
    Instead {
        status: "400",
        name: "BadBody",
        meaning: "The body is not JSON; `details` have the line and the column",
        by: |_, route| has_body(route),
    },
    Instead {
        status: "401",
        name: "Unauthorized",
        meaning: "No admin token, or a wrong one",
        by: |_, route| asks_for_the_token(route),
    },
    Instead {
        status: "403",
        name: "HostNotAllowed",
        meaning: "No admin token, and a host name that is not the gateway's",
        by: |_, route| asks_for_the_token(route),
    },
    Instead {
        status: "404",
        name: "NotFound",
        meaning: "There is no such plugin",
        by: |_, route| has_parameter(route, &ParameterIn::Path),
    },
    Instead {
        status: "413",
        name: "TooLarge",
        meaning: "The body is too large",
        by: |_, route| has_body(route),
    },
    Instead {
        status: "415",
        name: "NotJson",
        meaning: "The body's type is not JSON",
        by: |_, route| has_body(route),
    },
    Instead {
        status: "422",
        name: "Invalid",
        meaning: "What is asked for is wrong. `details.problems` name each wrong field by a JSON pointer (`pointer`) or \
                  its parameter (`parameter`); `details.errors` are those of files, with file, line and column",
        by: |_, route| has_body(route) || has_parameter(route, &ParameterIn::Query),
    },
    Instead {
        status: "503",
        name: "Unavailable",
        meaning: "The database does not answer, or the gateway shuts down",
        by: |method, _| *method != HttpMethod::Get,
    },
];

fn has_body(route: &Operation) -> bool {
    route.request_body.is_some()
}

fn asks_for_the_token(route: &Operation) -> bool {
    route.security.is_none()
}

fn has_parameter(route: &Operation, place: &ParameterIn) -> bool {
    route.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(Parameter { parameter_in, .. }) => parameter_in == place,
        RefOr::Ref(_) => false,
    })
}

/// The document as it is served.
#[derive(Clone)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn of(routes: OpenApi) -> Self {
        Self(document(routes).to_pretty_json().expect("names and texts are written as JSON").into())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.0).expect("it was written as JSON")
    }
}

/// Makes the document of what the routes say of themselves.
fn document(mut routes: OpenApi) -> OpenApi {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    routes.info = InfoBuilder::new()
        .title("Hookway admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    routes.tags = Some(vec![
        tag("plugins", "What is installed, what is wanted of it, and what it does."),
        tag("gateway", "The gateway as a whole: its state, its configuration, its chain."),
        tag("traffic", "Requests, and what happens as it happens."),
    ]);
    routes.security = Some(vec![SecurityRequirement::new(BEARER, [""; 0])]);
    let mut components = ComponentsBuilder::from(routes.components.take().unwrap_or_default());
    for Instead { name, meaning, .. } in INSTEAD {
        components = components.response(name, error(meaning));
    }
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("The admin token.".to_owned());
    let components =
        components.schemas_from_iter(schemas()).security_scheme(BEARER, SecurityScheme::Http(bearer));
    let mut components = components.build();
    let answered = components.schemas.iter_mut().filter(|(name, _)| **name != Problem::name());
    answered.for_each(|(_, schema)| all_there(schema));
    routes.components = Some(components);
    routes.paths.paths.values_mut().for_each(complete);
    routes
}

fn tag(name: &str, description: &str) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

fn error(description: &str) -> Response {
    let mut response = Response::new(description);
    let content = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    response.content.insert("application/json".to_owned(), RefOr::T(content));
    response
}

/// What no route answers as its whole body: errors, what they hold, and what events hold.
fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    add::<ErrorBody>(&mut schemas);
    add::<Problem>(&mut schemas);
    add::<PluginEvent>(&mut schemas);
    add::<LogEvent>(&mut schemas);
    add::<ChainEvent>(&mut schemas);
    add::<LaggedEvent>(&mut schemas);
    schemas
}

/// What is answered has all its fields: what there is nothing of is null. What is asked for, which takes no others, may
/// leave some out.
fn all_there(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) if object.additional_properties.is_none() => {
            object.required = object.properties.keys().cloned().collect();
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(all_there),
        _ => {}
    }
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// Adds what may be answered instead, where the route does not say it itself.
fn complete(item: &mut PathItem) {
    let PathItem { get, put, post, delete, .. } = item;
    let routes = [
        (HttpMethod::Get, get),
        (HttpMethod::Put, put),
        (HttpMethod::Post, post),
        (HttpMethod::Delete, delete),
    ];
    for (method, route) in routes {
        let Some(route) = route else { continue };
        for Instead { status, name, by, .. } in INSTEAD {
            if by(&method, route) {
                let answer = RefOr::Ref(Ref::from_response_name(name));
                route.responses.responses.entry(status.to_owned()).or_insert(answer);
            }
        }
        for answer in route.responses.responses.values_mut() {
            describe(answer);
        }
    }
}

/// The document needs a description where there is nothing more to say.
fn describe(answer: &mut RefOr<Response>) {
    if let RefOr::T(Response { description, .. }) = answer
        && description.is_empty()
    {
        "As asked".clone_into(description);
    }
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "gateway",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn get_openapi(
    State(document): State<Document>,
) -> ([(HeaderName, &'static str); 1], Bytes) {
    ([(CONTENT_TYPE, "application/json")], document.0)
}
