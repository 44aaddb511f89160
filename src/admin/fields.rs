//! What a caller asks for, read field by field. Everything that is wrong is told at once, with its place: a field
//! nobody knows is an error that names the one it looks like.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::ApiError;
use super::error::Problem;
use crate::document::suggestion;
use crate::limits;

/// What can be read from the fields of a JSON object or of a query.
pub trait Ask: Sized {
    /// None if something is missing or wrong, which `fields` then knows.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// The fields that were given and have not been asked for yet.
pub struct Fields {
    given: Map<String, Value>,
    /// Texts of a query, or a JSON body.
    query: bool,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl Fields {
    /// Reads a JSON body, or the arguments of a tool.
    pub fn of_json<T: Ask>(value: Value) -> Result<T, ApiError> {
        match value {
            Value::Object(given) => Self::read(given, false),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let message = "has to be an object".to_owned();
                Err(ApiError::invalid(&[Problem { pointer: Some(String::new()), parameter: None, message }]))
            }
        }
    }

    /// Reads a query: names and values, decoded.
    pub(super) fn of_query<T: Ask>(pairs: Vec<(String, String)>) -> Result<T, ApiError> {
        let mut given = Map::new();
        for (name, value) in pairs {
            if given.insert(name.clone(), Value::String(value)).is_some() {
                let message = "is given twice".to_owned();
                return Err(ApiError::invalid(&[Problem { pointer: None, parameter: Some(name), message }]));
            }
        }
        Self::read(given, true)
    }

    fn read<T: Ask>(given: Map<String, Value>, query: bool) -> Result<T, ApiError> {
        let mut fields = Self { given, query, known: Vec::new(), problems: Vec::new() };
        let asked = T::read(&mut fields);
        fields.refuse_the_unknown();
        match asked {
            Some(asked) if fields.problems.is_empty() => Ok(asked),
            Some(_) | None => Err(ApiError::invalid(&fields.problems)),
        }
    }

    /// A text that has to be there.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.required(name)? {
            Value::String(text) => Some(text),
            _ => self.wrong(name, "has to be a text"),
        }
    }

    /// An absolute path that has to be there: nobody who asks knows where a relative one would start.
    pub fn absolute_path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        if path.is_absolute() { Some(path) } else { self.wrong(name, "has to be an absolute path") }
    }

    /// A text out of `words`, if it is there.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let given = self.take(name)?;
        let word = given.as_str().unwrap_or_default();
        let found = words.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value).or_else(|| {
            let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
            self.wrong(name, &format!("has to be one of: {}", known.join(", ")))
        })
    }

    /// Texts out of `words`, separated by commas, if there are any.
    pub fn words<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<Vec<T>> {
        let given = self.take(name)?;
        let asked = given.as_str().unwrap_or_default().split(',');
        let found: Option<Vec<T>> = asked
            .map(|word| words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value))
            .collect();
        found.or_else(|| {
            let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
            self.wrong(name, &format!("has to be some of these, separated by commas: {}", known.join(", ")))
        })
    }

    /// A list of texts that has to be there.
    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let Value::Array(items) = self.required(name)? else {
            return self.wrong(name, "has to be a list of texts");
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                _ => self.problem(&format!("{name}/{index}"), "has to be a text"),
            }
        }
        Some(texts)
    }

    /// Yes or no; left out it is no.
    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => self.wrong::<()>(name, "has to be true or false").is_some(),
        }
    }

    /// An object that has to be there.
    pub fn object(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        match self.required(name)? {
            Value::Object(object) => Some(object),
            _ => self.wrong(name, "has to be an object"),
        }
    }

    /// A whole number, if it is there.
    pub fn number(&mut self, name: &'static str, from: u64, to: u64) -> Option<u64> {
        let given = self.take(name)?;
        let number =
            if self.query { given.as_str().and_then(|text| text.parse().ok()) } else { given.as_u64() };
        let number = number.filter(|number| (from..=to).contains(number));
        number.or_else(|| self.wrong(name, &format!("has to be a whole number from {from} to {to}")))
    }

    /// How many of a list, 50 if left out.
    pub(super) fn limit(&mut self, max: usize) -> usize {
        let limit = self.number("limit", 1, max as u64).and_then(|limit| usize::try_from(limit).ok());
        limit.unwrap_or(limits::ADMIN_PAGE_ROWS.min(max))
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.given.shift_remove(name)
    }

    fn required(&mut self, name: &'static str) -> Option<Value> {
        self.take(name).or_else(|| self.wrong(name, "is missing"))
    }

    fn wrong<T>(&mut self, name: &'static str, message: &str) -> Option<T> {
        self.problem(name, message);
        None
    }

    fn problem(&mut self, name: &str, message: &str) {
        let (pointer, parameter) =
            if self.query { (None, Some(name.to_owned())) } else { (Some(format!("/{name}")), None) };
        self.problems.push(Problem { pointer, parameter, message: message.to_owned() });
    }

    fn refuse_the_unknown(&mut self) {
        let rest: Vec<String> = self.given.keys().take(PROBLEMS_MAX).cloned().collect();
        for name in rest {
            let message = match self.known.as_slice() {
                [] => "is not known; nothing is".to_owned(),
                known => format!("is not known; {}", suggestion(&name, known)),
            };
            let name = if self.query { name } else { name.replace('~', "~0").replace('/', "~1") };
            self.problem(&name, &message);
        }
    }
}

/// Unknown fields that are told. Who sends more of them has misunderstood something else.
const PROBLEMS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Everything {
        path: String,
        grant: bool,
        order: Vec<String>,
        config: Map<String, Value>,
        limit: Option<u64>,
    }

    impl Ask for Everything {
        fn read(fields: &mut Fields) -> Option<Self> {
            let (path, order) = (fields.text("path"), fields.texts("order"));
            let (grant, limit) = (fields.flag("grant"), fields.number("limit", 1, 10));
            let config = fields.object("config");
            Some(Self { path: path?, grant, order: order?, config: config?, limit })
        }
    }

    #[derive(Debug, PartialEq)]
    struct Query(Option<u64>, Option<bool>, Option<Vec<u8>>);

    impl Ask for Query {
        fn read(fields: &mut Fields) -> Option<Self> {
            let limit = fields.number("limit", 1, 10);
            let status = fields.word("status", &[("on", true), ("off", false)]);
            Some(Self(limit, status, fields.words("kinds", &[("a", 1), ("b", 2)])))
        }
    }

    fn query(pairs: &[(&str, &str)]) -> Result<Query, ApiError> {
        Fields::of_query(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn problems(error: ApiError) -> Value {
        assert_eq!(error.code(), "invalid_request");
        serde_json::to_value(error.body()).unwrap()["error"]["details"]["problems"].take()
    }

    #[test]
    fn what_is_right_is_read() {
        let asked = json!({"path": "/p", "order": ["a"], "config": {"k": 1}, "limit": 3});
        let read = Fields::of_json::<Everything>(asked).unwrap();
        assert_eq!((read.path.as_str(), read.grant, read.limit), ("/p", false, Some(3)));
        assert_eq!(query(&[]), Ok(Query(None, None, None)));
        let asked = query(&[("limit", "10"), ("status", "off"), ("kinds", "b,a")]);
        assert_eq!(asked, Ok(Query(Some(10), Some(false), Some(vec![2, 1]))));
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_place() {
        let asked = json!({"pth": 1, "grant": "yes", "order": ["a", 2], "config": [], "limit": 11, "a/b": 0});
        expect_test::expect![[r#"
            [
              {
                "pointer": "/path",
                "message": "is missing"
              },
              {
                "pointer": "/order/1",
                "message": "has to be a text"
              },
              {
                "pointer": "/grant",
                "message": "has to be true or false"
              },
              {
                "pointer": "/limit",
                "message": "has to be a whole number from 1 to 10"
              },
              {
                "pointer": "/config",
                "message": "has to be an object"
              },
              {
                "pointer": "/pth",
                "message": "is not known; did you mean \"path\"?"
              },
              {
                "pointer": "/a~1b",
                "message": "is not known; known here: path, order, grant, limit, config"
              }
            ]"#]]
        .assert_eq(&format!("{:#}", problems(Fields::of_json::<Everything>(asked).unwrap_err())));
    }

    #[test]
    fn a_body_that_is_no_object_and_a_parameter_given_twice_are_refused() {
        let error = Fields::of_json::<Everything>(json!([])).unwrap_err();
        assert_eq!(problems(error), json!([{"pointer": "", "message": "has to be an object"}]));
        let error = query(&[("limit", "1"), ("limit", "1")]).unwrap_err();
        assert_eq!(problems(error), json!([{"parameter": "limit", "message": "is given twice"}]));
    }

    #[test]
    fn a_parameter_outside_its_words_or_bounds_is_told_what_there_is() {
        let error = query(&[("limit", "0"), ("status", "of"), ("kinds", "a,c"), ("limt", "1")]).unwrap_err();
        let told = problems(error);
        assert_eq!(told[0]["message"], "has to be a whole number from 1 to 10");
        assert_eq!(told[1]["message"], "has to be one of: on, off");
        assert_eq!(told[2]["message"], "has to be some of these, separated by commas: a, b");
        assert_eq!(told[3], json!({"parameter": "limt", "message": "is not known; did you mean \"limit\"?"}));
    }
}
