//! `cargo +nightly fuzz run wire`: whatever a peer sends, cut anywhere, is frames or an error; and the frames
//! are the bytes that came in.
#![no_main]

use bytes::BytesMut;
use hookway_wire::{CallMeta, Decoder, FRAME_BYTES_MAX, VerdictMeta};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let (mut buffer, mut again) = (BytesMut::new(), BytesMut::new());
    for part in [first, second] {
        buffer.extend_from_slice(part);
        loop {
            match Decoder::new(FRAME_BYTES_MAX).next(&mut buffer) {
                Ok(Some(frame)) => {
                    let _ = (frame.parse::<CallMeta>(), frame.parse::<VerdictMeta>());
                    frame.write(&mut again);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    again.extend_from_slice(&buffer);
    assert_eq!(again, bytes);
});
