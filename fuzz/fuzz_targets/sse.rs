//! `cargo +nightly fuzz run sse`: whatever an upstream streams, cut anywhere, the pieces and the rest are the bytes
//! that came in, and where they were cut changes no piece.
#![no_main]

use bytes::Bytes;
use hookway::chat::sse::{self, Splitter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (cuts, stream) = input;
    let mut chunks = Vec::new();
    let mut rest = &stream[..];
    for cut in cuts {
        let (chunk, after) = rest.split_at(usize::from(cut).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks.push(rest);
    let (Some((pieces, remainder)), Some(whole)) = (split(&chunks), split(&[&stream])) else { return };
    assert_eq!([pieces.concat(), remainder.to_vec()].concat(), stream);
    assert_eq!((&pieces, &remainder), (&whole.0, &whole.1));
    for piece in &pieces {
        let _ = (sse::data(piece), sse::name(piece), sse::is_done(piece));
    }
});

fn split(chunks: &[&[u8]]) -> Option<(Vec<Bytes>, Bytes)> {
    let mut splitter = Splitter::default();
    let mut pieces = Vec::new();
    for chunk in chunks {
        splitter.push(Bytes::copy_from_slice(chunk));
        while let Some(piece) = splitter.next_piece().ok()? {
            pieces.push(piece);
        }
    }
    Some((pieces, splitter.remainder()))
}
