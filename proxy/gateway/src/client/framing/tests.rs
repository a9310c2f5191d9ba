use super::*;

fn verdict(bytes: &[u8]) -> Result<Position, &'static str> {
    let mut framing = Framing::new();
    framing
        .feed(bytes)
        .map(|()| framing.position())
        .map_err(|refusal| refusal.reason)
}

fn head(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn follows_messages_to_their_ends() {
    use Position::*;
    let cases: [(&str, Position); 10] = [
        ("", BetweenMessages),
        ("GET /", InHead),
        ("GET / HTTP/1.1\r\n", InHead),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", BetweenMessages),
        ("\r\nGET / HTTP/1.0\r\n\r\n", BetweenMessages),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", InBody),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            BetweenMessages,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
            BetweenMessages,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            InBody,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nH",
            InHead,
        ),
    ];
    for (bytes, position) in cases {
        assert_eq!(verdict(bytes.as_bytes()), Ok(position), "{bytes:?}");
    }
}

#[test]
fn refuses_every_known_smuggling_shape() {
    let heads = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\ncontent-length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 4\r\n",
        " Content-Length: 4\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\r\n\tfolded\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: a\0b\r\n",
        "Trans\x00fer: y\r\n",
        ": y\r\n",
        "X y: z\r\n",
    ];
    for lines in heads {
        assert!(verdict(head(lines).as_bytes()).is_err(), "{lines:?}");
    }
}

#[test]
fn refuses_bad_request_lines() {
    for line in [
        "GET / HTTP/1.1\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(verdict(line.as_bytes()).is_err(), "{line:?}");
    }
}

#[test]
fn refuses_bad_chunks() {
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "-1\r\n",
        "\r\n",
        "ffffffffffffffff\r\n",
        "3;\rx\r\nabc\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\n folded\r\n\r\n",
    ] {
        let bytes = head("Transfer-Encoding: chunked\r\n") + chunks;
        assert!(verdict(bytes.as_bytes()).is_err(), "{chunks:?}");
    }
    let extension = format!("3;{}", "x".repeat(300));
    let bytes = head("Transfer-Encoding: chunked\r\n") + &extension;
    assert!(verdict(bytes.as_bytes()).is_err());
}

#[test]
fn says_what_precedes_the_offence() {
    let good = head("");
    let bytes = format!("{good}GET / HTTP/1.1\r\nX : y\r\n\r\n");
    let refusal = Framing::new().feed(bytes.as_bytes()).unwrap_err();
    assert_eq!((refusal.safe, refusal.in_head), (good.len(), true));
    let mut framing = Framing::new();
    assert!(framing.feed(b"x\n").is_err());
    assert!(framing.feed(good.as_bytes()).is_err(), "refusal is final");
}

#[test]
fn measures_heads() {
    let mut framing = Framing::new();
    let (short, long) = (head(""), head("x: y\r\n"));
    let bytes = format!("{short}{long}GET / HTTP/1.1\r\nX : y\r\n\r\n");
    assert!(framing.feed(bytes.as_bytes()).is_err());
    let heads: Vec<usize> = framing.take_heads().collect();
    assert_eq!(heads, [short.len(), long.len()]);
    assert_eq!(framing.take_heads().count(), 0);
}

proptest::proptest! {
    #[test]
    fn says_the_same_however_the_bytes_are_cut(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "GET / HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "\n", "\r", "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n", "abc", "3\r\n", "0\r\n", " ", "x: y\r\n",
            ]),
            0..12,
        ),
        cuts in proptest::collection::vec(0usize..80, 0..5),
    ) {
        let bytes = parts.concat().into_bytes();
        let whole = {
            let mut framing = Framing::new();
            (framing.feed(&bytes).map_err(|r| r.reason), framing.position())
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut framing = Framing::new();
        let mut from = 0;
        let mut result = Ok(());
        for to in cuts {
            result = result.and_then(|()| framing.feed(&bytes[from..to]).map_err(|r| r.reason));
            from = to;
        }
        proptest::prop_assert_eq!((result, framing.position()), whole);
    }
}
