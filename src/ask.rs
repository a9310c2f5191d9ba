//! `portcullis ask`: one HTTP request, until it is answered as expected.
//!
//! An image that holds nothing but this binary has no curl: this is what `helm test` runs in it.

use std::time::Duration;

use anyhow::{Context, bail};
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::cli::AskArgs;

pub async fn run(args: AskArgs) -> anyhow::Result<()> {
    let uri: Uri = args
        .url
        .parse()
        .with_context(|| format!("{} is no URL", args.url))?;
    if uri.scheme_str() != Some("http") {
        bail!("{} is no URL that begins with http://", args.url);
    }
    let deadline = Instant::now() + Duration::from_secs(args.deadline_seconds);
    loop {
        let attempt = timeout(ATTEMPT, ask(&uri, args.host.as_deref())).await;
        let complaint = match attempt {
            Ok(Ok(status)) if status == args.status => {
                println!("{}: {status}", args.url);
                return Ok(());
            }
            Ok(Ok(status)) => format!("answered {status}, not {}", args.status),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer within {} s", ATTEMPT.as_secs()),
        };
        if Instant::now() > deadline {
            bail!("{}: {complaint}", args.url);
        }
        tracing::info!("{}: {complaint}, asking again", args.url);
        sleep(PAUSE).await;
    }
}

async fn ask(uri: &Uri, host: Option<&str>) -> anyhow::Result<u16> {
    let authority = uri.authority().context("the URL names no host")?;
    let name = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((name, authority.port_u16().unwrap_or(80)))
        .await
        .with_context(|| format!("{authority} cannot be reached"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, host.unwrap_or(authority.as_str()))
        .header(header::USER_AGENT, "portcullis-ask")
        .body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request).await;
    connection.abort();
    Ok(answer?.status().as_u16())
}

/// An address that swallows packets is tried again.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next status, and tells what the last one asked.
    async fn server(statuses: &'static [u16]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut asked = String::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let length = stream.read(&mut head).await.unwrap();
                asked = String::from_utf8_lossy(&head[..length]).into_owned();
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (port, task)
    }

    fn args(url: String, status: u16, deadline_seconds: u64) -> AskArgs {
        AskArgs {
            url,
            status,
            host: Some("a.test".to_owned()),
            deadline_seconds,
        }
    }

    #[tokio::test]
    async fn it_asks_until_the_answer_is_as_expected() {
        let (port, server) = server(&[503, 200]).await;
        let url = format!("http://127.0.0.1:{port}/a?b=c");
        run(args(url, 200, 30)).await.unwrap();
        let asked = server.await.unwrap();
        assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("host: a.test\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn it_says_what_came_instead() {
        let (port, _server) = server(&[404]).await;
        let url = format!("http://127.0.0.1:{port}/");
        let error = run(args(url.clone(), 200, 0)).await.unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("{url}: answered 404, not 200")
        );
        let error = run(args("https://a.test/".into(), 200, 0))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("begins with http://"));
    }
}
