//! A value that is opened only where a pointer leads into it.

use bytes::{BufMut, Bytes};

use super::scan::{Entries, Entry, Torn, inside, is_key};
use super::{Reading, Why};

/// Neighbours that no pointer leads to stay together, up to about so many bytes of text. Finding one of them takes a
/// look at so much text, and holding them one piece for so much.
const RUN_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(super) enum Node {
    /// As it stands in the body or in the patch, without space around it.
    Text(Bytes),
    Nest(Nest),
}

/// An object or an array that a pointer led into.
#[derive(Debug)]
pub(super) struct Nest {
    keyed: bool,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    /// Entries as they stand in the text, with what separates them.
    Run { text: Bytes, count: usize },
    /// One entry that a pointer led to. The key has its quotes; an item's is empty.
    One { key: Bytes, node: Node },
}

impl Piece {
    const fn count(&self) -> usize {
        match self {
            Self::Run { count, .. } => *count,
            Self::One { .. } => 1,
        }
    }
}

impl Node {
    /// The object or array, opened; `None` if the value is neither.
    pub(super) fn nest(&mut self, reading: &mut Reading) -> Result<Option<&mut Nest>, Why> {
        if let Self::Text(text) = self {
            let Some(nest) = Nest::open(text, reading)? else { return Ok(None) };
            *self = Self::Nest(nest);
        }
        match self {
            Self::Nest(nest) => Ok(Some(nest)),
            Self::Text(_) => Ok(None),
        }
    }

    /// The bytes of its text.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Nest(nest) => {
                let commas = nest.pieces.len().saturating_sub(1);
                2 + commas + nest.pieces.iter().map(Piece::len).sum::<usize>()
            }
        }
    }

    pub(super) fn text(&self) -> Bytes {
        match self {
            Self::Text(text) => text.clone(),
            Self::Nest(_) => {
                let mut out = Vec::with_capacity(self.len());
                self.write(&mut out);
                out.into()
            }
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.put_slice(text),
            Self::Nest(nest) => {
                out.push(if nest.keyed { b'{' } else { b'[' });
                for (at, piece) in nest.pieces.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    piece.write(out);
                }
                out.push(if nest.keyed { b'}' } else { b']' });
            }
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Run { text, .. } => text.len(),
            Self::One { key, node } if key.is_empty() => node.len(),
            Self::One { key, node } => key.len() + 1 + node.len(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run { text, .. } => out.put_slice(text),
            Self::One { key, node } => {
                if !key.is_empty() {
                    out.put_slice(key);
                    out.push(b':');
                }
                node.write(out);
            }
        }
    }
}

impl Nest {
    fn open(text: &Bytes, reading: &mut Reading) -> Result<Option<Self>, Why> {
        let Some((inner, keyed)) = inside(text) else { return Ok(None) };
        reading.spend(text.len())?;
        let inner = text.slice(inner);
        let mut pieces = Vec::new();
        let (mut run, mut count) = (0..0, 0);
        let mut keep = |run: std::ops::Range<usize>, count| {
            if count > 0 {
                pieces.push(Piece::Run { text: inner.slice(run), count });
            }
        };
        for entry in Entries::new(&inner, keyed) {
            let entry = entry?;
            let (start, end) = (entry.start(), entry.value.end);
            // A large entry stays alone, so that it is never read again to find another one.
            if count > 0 && (end - start >= RUN_BYTES || run.len() >= RUN_BYTES) {
                keep(run.clone(), count);
                count = 0;
            }
            run = if count == 0 { start..end } else { run.start..end };
            count += 1;
        }
        keep(run, count);
        Ok(Some(Self { keyed, pieces }))
    }

    pub(super) const fn is_object(&self) -> bool {
        self.keyed
    }

    /// How many items or members there are.
    pub(super) fn count(&self) -> usize {
        self.pieces.iter().map(Piece::count).sum()
    }

    /// The place of the item `index`, as a piece of its own.
    pub(super) fn item(&mut self, index: usize) -> Result<Option<usize>, Why> {
        let Some((at, nth)) = self.locate(index) else { return Ok(None) };
        Ok(Some(self.isolate(at, nth)?))
    }

    /// The place of the member with this key, as a piece of its own.
    pub(super) fn member(&mut self, key: &str, reading: &mut Reading) -> Result<Option<usize>, Why> {
        let mut found = None;
        let mut note = |is_key: bool, at, nth| {
            if is_key && found.replace((at, nth)).is_some() {
                return Err(Why::Twice { key: key.to_owned() });
            }
            Ok(())
        };
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::One { key: own, .. } => note(is_key(own, key)?, at, 0)?,
                Piece::Run { text, count } => {
                    // Of a single member the key is enough.
                    let single = *count == 1;
                    reading.spend(if single { 1 } else { text.len() })?;
                    if single {
                        note(is_key(first_key(text)?, key)?, at, 0)?;
                        continue;
                    }
                    for (nth, entry) in Entries::new(text, true).enumerate() {
                        note(is_key(&text[entry?.key], key)?, at, nth)?;
                    }
                }
            }
        }
        found.map(|(at, nth)| self.isolate(at, nth)).transpose().map_err(Why::from)
    }

    /// The value at a place that [`Self::item`] or [`Self::member`] gave.
    pub(super) fn at(&mut self, place: usize) -> &mut Node {
        match &mut self.pieces[place] {
            Piece::One { node, .. } => node,
            Piece::Run { .. } => unreachable!("a place is a piece of its own"),
        }
    }

    pub(super) fn take(&mut self, place: usize) -> Node {
        match self.pieces.remove(place) {
            Piece::One { node, .. } => node,
            Piece::Run { .. } => unreachable!("a place is a piece of its own"),
        }
    }

    /// Puts an item before the one that has this index now, or at the end.
    pub(super) fn insert(&mut self, index: usize, node: Node) -> Result<(), Why> {
        let place = match self.locate(index) {
            Some((at, nth)) => self.split(at, nth)?,
            None => self.pieces.len(),
        };
        self.pieces.insert(place, Piece::One { key: Bytes::new(), node });
        Ok(())
    }

    /// Adds a member with a key that no other has.
    pub(super) fn push(&mut self, key: &str, node: Node) {
        let key = super::written(&serde_json::Value::from(key)).into();
        self.pieces.push(Piece::One { key, node });
    }

    /// The piece that has the entry `index`, and the entry's number in it.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        let mut left = index;
        for (at, piece) in self.pieces.iter().enumerate() {
            match left.checked_sub(piece.count()) {
                Some(rest) => left = rest,
                None => return Some((at, left)),
            }
        }
        None
    }

    fn isolate(&mut self, at: usize, nth: usize) -> Result<usize, Torn> {
        let at = self.split(at, nth)?;
        self.split(at, 1)?;
        if let Piece::Run { text, .. } = &self.pieces[at] {
            let Entry { key, value } = Entries::new(text, self.keyed).next().ok_or(Torn)??;
            let (key, node) = (text.slice(key), Node::Text(text.slice(value)));
            self.pieces[at] = Piece::One { key, node };
        }
        Ok(at)
    }

    /// Makes the entry number `nth` of a piece the first of its piece, and tells which that is.
    fn split(&mut self, at: usize, nth: usize) -> Result<usize, Torn> {
        if nth == 0 {
            return Ok(at);
        }
        let Piece::Run { text, count } = &self.pieces[at] else { return Ok(at + 1) };
        if nth >= *count {
            return Ok(at + 1);
        }
        let mut entries = Entries::new(text, self.keyed);
        let before = entries.nth(nth - 1).ok_or(Torn)??;
        let after = entries.next().ok_or(Torn)??;
        let right = Piece::Run { text: text.slice(after.start()..), count: count - nth };
        let left = Piece::Run { text: text.slice(..before.value.end), count: nth };
        self.pieces[at] = left;
        self.pieces.insert(at + 1, right);
        Ok(at + 1)
    }
}

/// The key of the first member of a run, which begins with it.
fn first_key(run: &[u8]) -> Result<&[u8], Torn> {
    super::scan::string_end(run, 0).map(|end| &run[..end])
}
