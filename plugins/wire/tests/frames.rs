//! The recorded frames under `frames/` are what this codec reads and writes, byte for byte.
//!
//! Every SDK replays the same files. `BLESS=1 cargo test` writes them anew from the table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recorded;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use hookway_wire::{CallMeta, Decoder, FRAME_BYTES_MAX, Frame, FrameType, Head, Hello};
use recorded::{BAD, Recorded, all, bare, failed_attempt};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("frames")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_hex(path: &Path) -> BytesMut {
    let text = std::fs::read_to_string(path).unwrap();
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().bytes())
        .filter(u8::is_ascii_hexdigit)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect::<Vec<u8>>()
        .as_slice()
        .into()
}

fn render(frame: &Frame) -> String {
    let mut out = BytesMut::new();
    frame.write(&mut out);
    let flags: Vec<&str> = [
        (frame.flags.is_end(), "END"),
        (frame.flags.is_unchanged(), "UNCHANGED"),
        (frame.flags.has_body(), "BODY"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    let lengths = (frame.meta.len() + frame.body.len(), frame.meta.len());
    let mut text = format!(
        "\n{}  # len {}\n{}  # id {}\n{}        # {}\n{}        # {}\n{}      # code {}\n{}  # meta_len {}\n",
        hex(&out[0..4]),
        lengths.0,
        hex(&out[4..8]),
        frame.id,
        hex(&out[8..9]),
        frame.kind,
        hex(&out[9..10]),
        if flags.is_empty() { "no flags".to_owned() } else { flags.join(" ") },
        hex(&out[10..12]),
        frame.code,
        hex(&out[12..16]),
        lengths.1,
    );
    for line in frame.meta.chunks(24).chain(frame.body.chunks(24)) {
        text += &format!("{:48}  # {}\n", hex(line), String::from_utf8_lossy(line).trim_end());
    }
    text
}

/// The header's bytes as the table says, legal or not, with a payload as long as the table claims if it is short.
fn bad_bytes([len, id, kind, flags, code, meta_len]: [u32; 6]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(len.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend([kind as u8, flags as u8]);
    bytes.extend((code as u16).to_le_bytes());
    bytes.extend(meta_len.to_le_bytes());
    bytes.extend(b"{}abc".iter().take(len as usize));
    bytes
}

fn check(file: PathBuf, says: &str, rendered: &str, expected: &[u8]) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("# {says}\n{rendered}")).unwrap();
    }
    assert_eq!(read_hex(&file), expected, "{}", file.display());
}

#[test]
fn the_codec_writes_what_is_recorded_and_reads_it_back() {
    for Recorded { file, says, frames } in all() {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        let rendered: String = frames.iter().map(render).collect();
        check(folder().join(file).with_extension("hex"), says, &rendered, &bytes);
        for frame in frames {
            assert_eq!(Decoder::new(FRAME_BYTES_MAX).next(&mut bytes), Ok(Some(frame)), "{file}");
        }
    }
}

#[test]
fn bad_frames_are_refused_with_the_recorded_reason() {
    for (file, header, error) in BAD {
        let bytes = bad_bytes(header);
        let rendered = format!("{}\n{}\n", hex(&bytes[..16]), hex(&bytes[16..]));
        check(folder().join("bad").join(file).with_extension("hex"), error, &rendered, &bytes);
        let refused = Decoder::new(FRAME_BYTES_MAX).next(&mut bytes[..].into()).unwrap_err();
        assert_eq!(refused.to_string(), error, "{file}");
    }
}

#[test]
fn every_recorded_file_is_in_the_table() {
    let good = all().map(|each| each.file);
    assert_eq!(files(&folder()), good.map(str::to_owned).collect());
    assert_eq!(files(&folder().join("bad")), BAD.iter().map(|(file, ..)| (*file).to_owned()).collect());
}

fn files(folder: &Path) -> BTreeSet<String> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recorded = paths.filter(|path| path.extension().is_some_and(|extension| extension == "hex"));
    recorded.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn metas_survive_the_wire_as_their_types() {
    let call = all().find(|each| each.file == "call-on-error").unwrap();
    assert_eq!(call.frames[0].parse::<CallMeta>().unwrap(), failed_attempt());
    let error = bare(Head::link(FrameType::Hello)).parse::<Hello>().unwrap_err().to_string();
    assert_eq!(error, "meta of a HELLO frame: EOF while parsing a value at line 1 column 0");
}
