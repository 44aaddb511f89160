//! Tables of what is read and what is refused; and: no cut of the input changes what is read, which is what a slow
//! reader of the whole input reads too.

use bytes::{Bytes, BytesMut};
use http::Version;
use proptest::prelude::*;

use super::*;

/// What came of reading a body: its bytes and what is left behind its end, or why not.
type Read = Result<Option<(Vec<u8>, Vec<u8>)>, Misread>;

/// Reads a chunked body that arrives in these parts. `None`: it is not whole.
fn read_in(parts: &[&[u8]]) -> Read {
    let (mut body, mut read, mut data) = (Body::new(Framing::Chunked), BytesMut::new(), Vec::new());
    for part in parts {
        read.extend_from_slice(part);
        while let Piece::Data(more) = body.take(&mut read)? {
            data.extend_from_slice(&more);
        }
    }
    Ok(body.is_done().then(|| (data, read.to_vec())))
}

/// The same of a body that is there at once, the way the grammar is written.
fn read_slowly(mut input: &[u8]) -> Read {
    let mut data = Vec::new();
    loop {
        let Some((line, rest)) = line(input) else { return Ok(None) };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let size = u64::from_str_radix(std::str::from_utf8(size).unwrap(), 16);
        let size = size.ok().filter(|_| digits <= 16).ok_or(Misread::ChunkSize)?;
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        match extension.iter().find(|byte| !is_blank(byte)) {
            None if extension.is_empty() => {}
            Some(b';') if extension.iter().all(|byte| !is_control(*byte)) => {}
            Some(b';') => return Err(Misread::ChunkExtension),
            None | Some(_) => return Err(Misread::ChunkSize),
        }
        input = rest;
        if size == 0 {
            break;
        }
        let Some((chunk, rest)) = input.split_at_checked(size as usize) else { return Ok(None) };
        data.extend_from_slice(chunk);
        let Some(rest) = rest.strip_prefix(b"\r\n") else {
            return if b"\r\n".starts_with(rest) { Ok(None) } else { Err(Misread::ChunkEnd) };
        };
        input = rest;
    }
    loop {
        let Some((line, rest)) = line(input) else { return Ok(None) };
        input = rest;
        if line.is_empty() {
            return Ok(Some((data, input.to_vec())));
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Misread::Trailer)?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) || value.iter().any(|&b| is_control(b))
        {
            return Err(Misread::Trailer);
        }
    }
}

fn line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&input[..end], &input[end + 2..]))
}

fn cut_at<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

/// Bytes that are often almost a chunked body.
fn almost_chunked() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => Just(b"3\r\nabc\r\n".to_vec()),
        4 => Just(b"0\r\n".to_vec()),
        4 => Just(b"\r\n".to_vec()),
        2 => Just(b"00a;x=\"y\"\r\n0123456789\r\n".to_vec()),
        2 => Just(b"x: y\r\n".to_vec()),
        1 => prop::sample::select(vec!["5", ";", " ", "\n", "\r", "\t", ":", "g", "F", "x", "\0", "ffffffffffffffff0"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn a_chunked_body_is_read_the_same_however_it_is_cut(
        input in almost_chunked(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let whole = read_in(&[&input]);
        prop_assert_eq!(&read_in(&cut_at(&input, &cuts)), &whole);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&read_in(&bytes), &whole);
        match read_slowly(&input) {
            // Where the slow reader waits for the end of a line, this one may have seen that the line is none.
            Ok(None) => prop_assert!(!matches!(whole, Ok(Some(_)))),
            Ok(slow) => prop_assert_eq!(whole, Ok(slow)),
            Err(_) => prop_assert!(whole.is_err(), "{:?}", whole),
        }
    }

    #[test]
    fn a_head_is_found_the_same_however_it_is_cut(
        words in prop::collection::vec(
            prop::sample::select(vec!["GET / HTTP/1.1", "\r\n", "a: b", "\r\n\r\n", "\n", "\r", " ", "x"]), 0..10),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let input = words.concat().into_bytes();
        let find = |parts: &[&[u8]]| {
            let (mut end, mut read) = (HeadEnd::default(), BytesMut::new());
            for part in parts {
                read.extend_from_slice(part);
                match end.find(&mut read, 40) {
                    Ok(Some(length)) => return Ok(Some(read.split_to(length))),
                    Ok(None) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        };
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        let one_by_one = find(&bytes);
        prop_assert_eq!(&find(&[&input]).is_err(), &one_by_one.is_err());
        prop_assert_eq!(&find(&cut_at(&input, &cuts)).ok(), &one_by_one.ok());
    }
}

#[test]
fn what_is_no_chunked_body_is_refused_as_soon_as_it_shows() {
    for (input, misread) in [
        ("\r\n", Misread::ChunkSize),
        (";x\r\n", Misread::ChunkSize),
        ("zz", Misread::ChunkSize),
        ("-2", Misread::ChunkSize),
        ("0x2", Misread::ChunkSize),
        (" 2", Misread::ChunkSize),
        ("2 \r", Misread::ChunkSize),
        ("2\n", Misread::ChunkSize),
        ("00000000000000002", Misread::ChunkSize),
        ("2\rx", Misread::LineEnd),
        ("5;a\nb\r\n", Misread::ChunkExtension),
        ("5;a\0", Misread::ChunkExtension),
        ("2\r\n{}xx", Misread::ChunkEnd),
        ("2\r\n{}\n", Misread::ChunkEnd),
        ("2\r\n{}\rx", Misread::LineEnd),
        ("0\r\nGET /", Misread::Trailer),
        ("0\r\n folded", Misread::Trailer),
        ("0\r\n: x", Misread::Trailer),
        ("0\r\nx: y\n", Misread::Trailer),
        ("0\r\nx: y\r\r", Misread::LineEnd),
        ("0\r\n\rx", Misread::LineEnd),
    ] {
        assert_eq!(read_in(&[input.as_bytes()]), Err(misread), "{input:?}");
    }
}

#[test]
fn extensions_and_trailers_are_read_and_left_out_within_their_bound() {
    let body = b"3 ; a=\"b\";c\r\nabc\r\n0;last\r\nx-checksum: 1\r\ncontent-length: 7\r\n\r\nnext";
    assert_eq!(read_in(&[body]), Ok(Some((b"abc".to_vec(), b"next".to_vec()))));
    let max = limits();
    for (extras, fits) in [(max, true), (max + 1, false)] {
        let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(extras - 1));
        let trailer = format!("1\r\nx\r\n0\r\nt:{}\r\n\r\n", "v".repeat(extras - 4));
        for body in [extension, trailer] {
            assert_eq!(read_in(&[body.as_bytes()]).is_ok(), fits, "{extras}");
        }
    }
}

fn limits() -> usize {
    crate::limits::CHUNK_EXTRAS_BYTES_MAX
}

#[test]
fn a_body_of_told_length_ends_there() {
    let mut read = BytesMut::from(&b"helloPOST"[..]);
    let mut body = Body::new(Framing::Length(7));
    assert_eq!(body.take(&mut BytesMut::new()), Ok(Piece::More));
    let mut first = read.split_to(5);
    assert_eq!(body.take(&mut first), Ok(Piece::Data(Bytes::from_static(b"hello"))));
    assert_eq!((body.left(), body.is_done()), (Some(2), false));
    assert_eq!(body.take(&mut read), Ok(Piece::Data(Bytes::from_static(b"PO"))));
    assert_eq!(body.take(&mut read), Ok(Piece::End));
    assert_eq!(read.as_ref(), b"ST");
}

fn parse(text: &str) -> Result<(http::request::Parts, Framing), Misread> {
    parse_request(&Bytes::copy_from_slice(text.as_bytes()))
}

fn framed(fields: &str) -> Result<Framing, Misread> {
    parse(&format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n")).map(|(_, framing)| framing)
}

#[test]
fn a_head_is_read_as_it_stands() {
    let text = "POST /v1/files?a=b HTTP/1.1\r\nHost: x:8080\r\nX-A: \t one, two \r\nx-a:\r\ncontent-length: 010\r\n\r\n";
    let (head, framing) = parse(text).unwrap();
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "/v1/files?a=b"));
    assert_eq!((head.version, framing), (Version::HTTP_11, Framing::Length(10)));
    let values: Vec<_> = head.headers.get_all("x-a").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(values, ["one, two", ""]);
    let (head, framing) = parse("GET http://x/v1/models HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.uri.path(), head.version, framing), ("/v1/models", Version::HTTP_10, Framing::None));
    assert_eq!(parse("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").unwrap().0.uri.path(), "*");
}

#[test]
fn what_could_be_framed_in_two_ways_is_refused() {
    assert_eq!(framed("transfer-encoding: Chunked"), Ok(Framing::Chunked));
    assert_eq!(framed("content-length: 0"), Ok(Framing::Length(0)));
    for (fields, misread) in [
        ("content-length: 6\r\ntransfer-encoding: chunked", Misread::TwoLengths),
        ("content-length: 6\r\ntransfer-encoding: identity", Misread::Coding),
        ("transfer-encoding: gzip, chunked", Misread::Coding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Misread::Coding),
        ("transfer-encoding: \x0bchunked", Misread::Field),
        ("transfer-encoding : chunked", Misread::Field),
        (" transfer-encoding: chunked", Misread::Field),
        ("content-length: 6\r\ncontent-length: 6", Misread::Length),
        ("content-length: 6, 6", Misread::Length),
        ("content-length: +6", Misread::Length),
        ("content-length: ", Misread::Length),
        ("content-length: 18446744073709551616", Misread::Length),
    ] {
        assert_eq!(framed(fields), Err(misread), "{fields:?}");
    }
    let chunked = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(parse(chunked).map(|_| ()), Err(Misread::Coding));
}

#[test]
fn what_is_no_head_is_refused() {
    for (text, misread) in [
        ("GET\r\n\r\n", Misread::RequestLine),
        ("GET /\r\n\r\n", Misread::RequestLine),
        ("GET / HTTP/2.0\r\nhost: x\r\n\r\n", Misread::RequestLine),
        ("GET / http/1.1\r\nhost: x\r\n\r\n", Misread::RequestLine),
        ("G(T / HTTP/1.1\r\nhost: x\r\n\r\n", Misread::RequestLine),
        ("GET  / HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET /#a HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET /\u{e9} HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET /\u{7f} HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET x HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET ftp://x/ HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET http://u@x/ HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Target),
        ("GET http://y/ HTTP/1.1\r\nhost: x\r\n\r\n", Misread::Host),
        ("GET / HTTP/1.1\r\n\r\n", Misread::Host),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", Misread::Host),
        ("GET / HTTP/1.1\r\nhost: u@x\r\n\r\n", Misread::Host),
        ("GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n", Misread::Field),
        ("GET / HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n", Misread::Field),
        ("GET / HTTP/1.1\r\nhost: x\r\na: \0\r\n\r\n", Misread::Field),
        ("GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n", Misread::Field),
    ] {
        assert_eq!(parse(text).map(|_| ()), Err(misread), "{text:?}");
    }
    let many = "a: b\r\n".repeat(crate::limits::HEADER_FIELDS_MAX);
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    assert!(matches!(parse(&many), Err(Misread::TooManyFields { .. })));
}

#[test]
fn the_end_of_a_head_is_looked_for_within_its_bound() {
    let find = |text: &str, max| HeadEnd::default().find(&mut BytesMut::from(text.as_bytes()), max);
    let head = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(find(&format!("{head}GET"), head.len()), Ok(Some(head.len())));
    assert_eq!(
        find(&format!("{head}GET"), head.len() - 1),
        Err(Misread::HeaderTooLarge { max: head.len() - 1 })
    );
    assert_eq!(find(&head[..20], 19), Err(Misread::HeaderTooLarge { max: 19 }));
    assert_eq!(find(&head[..20], 20), Ok(None));
    assert_eq!(find("GET / HTTP/1.1\n", 99), Err(Misread::LineEnd));
    assert_eq!(find("\u{16}\u{3}\u{1}", 99), Err(Misread::RequestLine));
    assert_eq!(
        find(&format!("\r\n\r\n{head}"), 99),
        Ok(Some(head.len())),
        "empty lines before it are none of it"
    );
    assert_eq!(find(&"\r\n".repeat(40), 99), Err(Misread::RequestLine));
}
