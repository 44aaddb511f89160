//! A JSON patch (RFC 6902), operation by operation, over a value that opens where the operations lead.

use bytes::Bytes;
use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::compare::says;
use super::pieces::{Nest, Node};
use super::{Reading, Refused, Why, trimmed, written};
use crate::limits;

/// The text with the patch applied, whole.
pub(in crate::chain) fn patch(text: &Bytes, patch: &Patch) -> Result<Vec<u8>, Refused> {
    patch_within(Reading::of(text.len()), text, patch)
}

pub(super) fn patch_within(reading: Reading, text: &Bytes, patch: &Patch) -> Result<Vec<u8>, Refused> {
    let operations = &patch.0;
    if operations.len() > limits::PATCH_OPERATIONS_MAX {
        return Err(Refused::Operations { count: operations.len() });
    }
    let mut document =
        Document { root: Node::Text(trimmed(text)), reading, may_copy: limits::PATCH_COPIED_BYTES_MAX };
    for (operation, change) in operations.iter().enumerate() {
        let done = document.apply(change);
        done.map_err(|why| Refused::Operation { operation, path: change.path().to_string(), why })?;
    }
    let mut out = Vec::with_capacity(document.root.len());
    document.root.write(&mut out);
    Ok(out)
}

struct Document {
    root: Node,
    reading: Reading,
    /// A copy may copy what an earlier one made: a few operations can ask for more memory than there is.
    may_copy: usize,
}

impl Document {
    fn apply(&mut self, operation: &PatchOperation) -> Result<(), Why> {
        match operation {
            PatchOperation::Add(add) => self.add(&add.path, text_of(&add.value)),
            PatchOperation::Remove(remove) => self.remove(&remove.path).map(drop),
            PatchOperation::Replace(replace) => {
                let node = text_of(&replace.value);
                *self.get(&replace.path)?.ok_or(Why::Missing)? = node;
                Ok(())
            }
            PatchOperation::Move(moved) => {
                if is_inside(&moved.path, &moved.from) {
                    return Err(Why::IntoItself);
                }
                let node = self.remove(&moved.from).map_err(of_source)?;
                self.add(&moved.path, node)
            }
            PatchOperation::Copy(copy) => {
                let copied = self.copied(&copy.from)?;
                self.add(&copy.path, Node::Text(copied))
            }
            PatchOperation::Test(test) => {
                let text = self.read(&test.path)?.ok_or(Why::Missing)?;
                if says(&text, &test.value)? { Ok(()) } else { Err(Why::Differs) }
            }
        }
    }

    fn add(&mut self, path: &Pointer, node: Node) -> Result<(), Why> {
        let Some((parent, last)) = path.split_back() else {
            self.root = node;
            return Ok(());
        };
        let last = last.decoded();
        let parent = walk(&mut self.root, parent, &mut self.reading)?.ok_or(Why::Missing)?;
        let nest = parent.nest(&mut self.reading)?.ok_or(Why::Missing)?;
        if nest.is_object() {
            match nest.member(&last, &mut self.reading)? {
                Some(place) => *nest.at(place) = node,
                None => nest.push(&last, node),
            }
            return Ok(());
        }
        let count = nest.count();
        let index = if last == "-" { Some(count) } else { index(&last).filter(|index| *index <= count) };
        nest.insert(index.ok_or(Why::Missing)?, node)
    }

    fn remove(&mut self, path: &Pointer) -> Result<Node, Why> {
        let (parent, last) = path.split_back().ok_or(Why::Missing)?;
        let parent = walk(&mut self.root, parent, &mut self.reading)?.ok_or(Why::Missing)?;
        let nest = parent.nest(&mut self.reading)?.ok_or(Why::Missing)?;
        let place = place(nest, &last.decoded(), &mut self.reading)?.ok_or(Why::Missing)?;
        Ok(nest.take(place))
    }

    fn get(&mut self, path: &Pointer) -> Result<Option<&mut Node>, Why> {
        walk(&mut self.root, path, &mut self.reading)
    }

    fn read(&mut self, path: &Pointer) -> Result<Option<Bytes>, Why> {
        let Some(node) = walk(&mut self.root, path, &mut self.reading)? else { return Ok(None) };
        self.reading.spend(node.len())?;
        Ok(Some(node.text()))
    }

    fn copied(&mut self, from: &Pointer) -> Result<Bytes, Why> {
        let node = walk(&mut self.root, from, &mut self.reading)?.ok_or(Why::MissingSource)?;
        self.may_copy = self.may_copy.checked_sub(node.len()).ok_or(Why::CopiesTooMuch)?;
        Ok(node.text())
    }
}

fn text_of(value: &Value) -> Node {
    Node::Text(written(value).into())
}

/// Follows a pointer, and opens what it leads through.
fn walk<'n>(root: &'n mut Node, path: &Pointer, reading: &mut Reading) -> Result<Option<&'n mut Node>, Why> {
    let mut node = root;
    for token in path.tokens() {
        let Some(nest) = node.nest(reading)? else { return Ok(None) };
        let Some(place) = place(nest, &token.decoded(), reading)? else { return Ok(None) };
        node = nest.at(place);
    }
    Ok(Some(node))
}

fn place(nest: &mut Nest, token: &str, reading: &mut Reading) -> Result<Option<usize>, Why> {
    if nest.is_object() {
        return nest.member(token, reading);
    }
    index(token).map_or(Ok(None), |index| nest.item(index))
}

/// The number of an item (RFC 6901 section 4): digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

/// Whether `path` leads below what `from` leads to.
fn is_inside(path: &Pointer, from: &Pointer) -> bool {
    let below = path.as_str().strip_prefix(from.as_str());
    below.is_some_and(|below| below.starts_with('/'))
}

fn of_source(why: Why) -> Why {
    if why == Why::Missing { Why::MissingSource } else { why }
}
