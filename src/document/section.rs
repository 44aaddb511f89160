//! Reading a table key by key.

use super::node::{Entry, Node, Value, quoted};
use super::{Document, Position, Wrong, suggestion};

/// A table being read. A key that is asked for is thereby known; the others are reported when the reading ends,
/// so that what the code reads and what a file may say cannot drift apart.
pub struct Section<'n, 't> {
    entries: &'n [Entry],
    /// Where the table begins; None if nobody wrote it and its defaults are being read.
    at: Option<usize>,
    pointer: String,
    /// What to call it: `[[upstream]]`, `hooks.onRequest`.
    title: String,
    asked: Vec<&'static str>,
    /// Keys that are not asked for are no problem.
    takes_others: bool,
    document: &'n mut Document<'t>,
}

impl<'n, 't> Section<'n, 't> {
    pub(super) fn whole<T>(
        root: &Node,
        document: &mut Document<'t>,
        read: impl FnOnce(&mut Section<'_, 't>) -> Option<T>,
    ) -> Option<T> {
        let Value::Table(entries) = &root.value else {
            let what = root.described(document.table_word);
            document.found(
                Some(root.at),
                "",
                format!("the file is {what}; write an {}", document.table_word),
            );
            return None;
        };
        let title = "the file".to_owned();
        let (at, pointer, asked) = (Some(root.at), String::new(), Vec::new());
        Section { entries, at, pointer, title, asked, takes_others: false, document }.read(read)
    }

    /// From now on keys that are not asked for are no problem: who reads needs only some of the table.
    pub fn take_others(&mut self) {
        self.takes_others = true;
    }

    /// Runs `read` and then reports the keys it did not ask for.
    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let result = read(&mut self);
        for entry in self.entries {
            if !self.takes_others && !self.asked.contains(&entry.key.as_str()) {
                let text =
                    format!("unknown key {}; {}", quoted(&entry.key), suggestion(&entry.key, &self.asked));
                self.document.found(Some(entry.at), self.pointer_to(&entry.key), text);
            }
        }
        result
    }

    /// The node of `key` as it is. From now on the key is known.
    pub fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value of `key`: None if it is left out, and if it is wrong, which is reported.
    pub fn get<T>(&mut self, key: &'static str, kind: impl FnOnce(&Node) -> Result<T, Wrong>) -> Option<T> {
        let node = self.node(key)?;
        match kind(node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(key, node, &self.pointer_to(key), wrong);
                None
            }
        }
    }

    /// As [`Section::get`], and that it is left out is reported too.
    pub fn need<T>(
        &mut self,
        key: &'static str,
        example: &str,
        kind: impl FnOnce(&Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.get(key, kind);
        if self.entries.iter().all(|entry| entry.key != key) {
            let text = format!("{} has no {key}; write it like {example}", self.title);
            self.problem_here(text);
        }
        value
    }

    /// The items of a list. None if it is left out or no list; a wrong item is reported and left out.
    pub fn list<T>(&mut self, key: &'static str, kind: impl Fn(&Node) -> Result<T, Wrong>) -> Option<Vec<T>> {
        let items = self.items(key, "a list")?;
        let pointer = self.pointer_to(key);
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match kind(item) {
                Ok(value) => values.push(value),
                Err(wrong) => {
                    let item_pointer = format!("{pointer}/{index}");
                    self.wrong(&format!("{key}[{index}]"), item, &item_pointer, wrong);
                }
            }
        }
        Some(values)
    }

    /// The items of a list, or of one that is written as its only item.
    pub fn list_or_one<T>(
        &mut self,
        key: &'static str,
        kind: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        match self.node(key)?.value {
            Value::List(_) => self.list(key, kind),
            Value::Null
            | Value::Boolean(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Foreign(_)
            | Value::Table(_) => self.get(key, kind).map(|item| vec![item]),
        }
    }

    /// A table, read whether or not it is there: its defaults are those of an empty one.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 't>) -> T) -> T {
        let is_json = self.document.table_word == "object";
        let example = if is_json { format!("\"{key}\": {{ … }}") } else { self.title_of(key) };
        let (entries, at) = match self.table_entries(key, &example) {
            Some((entries, at)) => (entries, Some(at)),
            None => (&[][..], None),
        };
        self.child(entries, at, self.pointer_to(key), self.title_of(key)).read(read)
    }

    /// A table that may be left out, and then there is none.
    pub fn optional_table<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> Option<T> {
        let (entries, at) = self.table_entries(key, example)?;
        Some(self.child(entries, Some(at), self.pointer_to(key), self.title_of(key)).read(read))
    }

    /// A list of tables, `[[key]]`, each read by `read`.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_, 't>) -> Option<T>,
    ) -> Vec<T> {
        let items = self.items(key, &format!("tables [[{key}]]")).unwrap_or_default();
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let pointer = format!("{}/{index}", self.pointer_to(key));
            let Value::Table(entries) = &item.value else {
                self.wrong(key, item, &pointer, Wrong::Type(format!("tables [[{key}]]")));
                continue;
            };
            let child = self.child(entries, Some(item.at), pointer, format!("[[{key}]]"));
            values.extend(child.read(&mut read));
        }
        values
    }

    /// A table whose keys are the writer's own. `read` gets each key and value.
    pub fn free_table<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mut read: impl FnMut(&str, &Node) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some((entries, _)) = self.table_entries(key, example) else { return Vec::new() };
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries {
            match read(&entry.key, &entry.node) {
                Ok(value) => values.push(value),
                Err(wrong) => {
                    let pointer = format!("{}/{}", self.pointer_to(key), escaped(&entry.key));
                    let path = format!("{key}.{}", key_shown(&entry.key));
                    self.wrong(&path, &entry.node, &pointer, wrong);
                }
            }
        }
        values
    }

    /// Reports a problem with `key`: at its value, or at the section if it is left out.
    pub fn problem(&mut self, key: &str, text: impl Into<String>) {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let at = entry.map(|entry| entry.node.at).or(self.at);
        self.document.found(at, self.pointer_to(key), text);
    }

    /// Reports a problem with the section as a whole.
    pub fn problem_here(&mut self, text: impl Into<String>) {
        self.document.found(self.at, self.pointer.clone(), text);
    }

    /// Reports a problem at a node below this section.
    pub fn problem_at(&mut self, node: &Node, pointer: &str, text: impl Into<String>) {
        self.document.found(Some(node.at), format!("{}{pointer}", self.pointer), text);
    }

    /// Where `key` stands, or the section if it is left out.
    pub fn position(&self, key: &str) -> Position {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let at = entry.map(|entry| entry.node.at).or(self.at);
        at.map(|offset| self.document.position(offset)).unwrap_or_default()
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    fn items(&mut self, key: &'static str, expected: &str) -> Option<&'n [Node]> {
        let node = self.node(key)?;
        if let Value::List(items) = &node.value {
            return Some(items);
        }
        self.wrong(key, node, &self.pointer_to(key), Wrong::Type(expected.to_owned()));
        None
    }

    fn table_entries(&mut self, key: &'static str, example: &str) -> Option<(&'n [Entry], usize)> {
        let node = self.node(key)?;
        if let Value::Table(entries) = &node.value {
            return Some((entries, node.at));
        }
        let expected = if self.document.table_word == "object" { "an object" } else { "a table" };
        self.wrong(key, node, &self.pointer_to(key), Wrong::Type(format!("{expected}, {example}")));
        None
    }

    fn child<'c>(
        &'c mut self,
        entries: &'c [Entry],
        at: Option<usize>,
        pointer: String,
        title: String,
    ) -> Section<'c, 't> {
        let (asked, takes_others) = (Vec::new(), false);
        Section { entries, at, pointer, title, asked, takes_others, document: self.document }
    }

    fn wrong(&mut self, key: &str, node: &Node, pointer: &str, wrong: Wrong) {
        let text = match wrong {
            Wrong::Type(expected) => {
                format!("{key} is {}; write {expected}", node.described(self.document.table_word))
            }
            Wrong::Value(words) => format!("{key} {} {words}", node.shown()),
            Wrong::Hidden(words) => format!("{key} {words}"),
        };
        self.document.found(Some(node.at), pointer, text);
    }

    fn pointer_to(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, escaped(key))
    }

    fn title_of(&self, key: &str) -> String {
        if self.pointer.is_empty() && self.document.table_word == "table" {
            format!("[{key}]")
        } else {
            key.to_owned()
        }
    }
}

/// A key as TOML writes it: in quotes unless it is of letters, digits, `-` and `_`.
fn key_shown(key: &str) -> String {
    let is_bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare && !key.is_empty() && key.len() <= 60 { key.to_owned() } else { quoted(key) }
}

/// A key as a JSON pointer writes it (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
