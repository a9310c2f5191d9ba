//! A tiny HTTP server: `/ready` is 200 once `/tmp/ready` exists or no delay was asked for, `/file/PATH` is a file,
//! `/write/PATH` makes one, everything else tells the environment.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

pub fn serve() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".into());
    println!("listening on {port}");
    eprintln!("to stderr");
    if let Ok(code) = std::env::var("EXIT") {
        std::process::exit(code.parse().expect("EXIT is a number"));
    }
    let listener = TcpListener::bind(format!("[::]:{port}")).expect("the port is free");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: std::net::TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    while lines.next()?.ok().is_some_and(|line| !line.is_empty()) {}
    println!("request {path}");
    let variables: Vec<_> = std::env::vars()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let file = std::fs::read_to_string(path.trim_start_matches("/file"));
    let body = match (path.as_str(), file) {
        ("/crash", _) => std::process::exit(3),
        (_, Ok(content)) if path.starts_with("/file/") => content,
        (written, _) if written.starts_with("/write/") => {
            let file = written.trim_start_matches("/write");
            let outcome = std::fs::write(file, file);
            outcome.map_or_else(|error| error.to_string(), |()| "written".into())
        }
        ("/peer", _) => stream.peer_addr().ok()?.ip().to_canonical().to_string(),
        _ => variables.join("\n"),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).ok()
}
