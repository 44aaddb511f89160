//! From the model a client asked for to the upstreams that may answer. A pure match over a frozen table.

use std::sync::Arc;

use globset::GlobMatcher;

use crate::config::{Config, Retry};

/// The routes of one configuration, in the order they were written.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
    /// Where a model goes that no route names: the first upstream.
    fallback: Target,
}

#[derive(Debug)]
struct Route {
    model: GlobMatcher,
    target: Target,
}

/// Upstreams in the order they are tried, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The route's glob, or `default`: a label for log and metrics.
    pub route: Arc<str>,
    /// Indexes into the configuration's upstreams. Never empty.
    pub upstreams: Vec<usize>,
    pub retry: Retry,
}

impl Routes {
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter().map(|route| Route {
            model: route.model.clone(),
            target: Target {
                route: route.pattern.as_str().into(),
                upstreams: route.upstreams.clone(),
                retry: route.retry.clone(),
            },
        });
        Self { routes: routes.collect(), fallback: straight_to(0) }
    }

    /// The first route whose glob matches; without a model, or without a match, the first upstream.
    pub fn for_model(&self, model: Option<&str>) -> &Target {
        model
            .and_then(|model| self.routes.iter().find(|route| route.model.is_match(model)))
            .map_or(&self.fallback, |route| &route.target)
    }
}

/// The target of a verdict that names an upstream itself: that one, under the default retry rule.
pub fn straight_to(upstream: usize) -> Target {
    Target { route: "default".into(), upstreams: vec![upstream], retry: Retry::default() }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;

    fn routes(patterns: &[(&str, &[usize])]) -> Routes {
        let route = |&(pattern, upstreams): &(&str, &[usize])| Route {
            model: Glob::new(pattern).unwrap().compile_matcher(),
            target: Target { route: pattern.into(), upstreams: upstreams.to_vec(), retry: Retry::default() },
        };
        Routes { routes: patterns.iter().map(route).collect(), fallback: straight_to(0) }
    }

    #[test]
    fn the_first_matching_glob_wins() {
        let routes = routes(&[("gpt-4*", &[2]), ("gpt-*", &[1, 2]), ("meta/*", &[3])]);
        let cases = [
            (Some("gpt-4o"), "gpt-4*"),
            (Some("gpt-3.5-turbo"), "gpt-*"),
            (Some("meta/llama-3"), "meta/*"),
            (Some("claude"), "default"),
            (None, "default"),
        ];
        for (model, expected) in cases {
            assert_eq!(&*routes.for_model(model).route, expected, "{model:?}");
        }
    }
}
