//! Request bodies: passed as they come, in any framing, buffered only where a mode says so.

use harness::agent::h2;
use harness::{Origin, answer};
use hyper::body::Frame;

use crate::world::{HOST, World, bearer};

#[tokio::test]
async fn chunked_sized_and_empty_bodies_arrive_as_they_are() {
    for up in ["h1", "h2"] {
        let world = World::with(Origin::builder(&[HOST]).only(up), &bearer()).await;
        let agent = world.agent();
        let chunked = "POST /c HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        agent.tls(HOST).await.exchange(chunked.as_bytes()).await.assert_ok();
        assert_eq!(world.origin.last().body, b"hello world");
        agent.post(HOST, "/s", "X: y", b"sized").await.assert_ok();
        let seen = world.origin.last();
        assert_eq!((seen.body.as_slice(), seen.header("content-length")), (&b"sized"[..], Some("5")));
        agent.post(HOST, "/e", "X: y", b"").await.assert_ok();
        assert_eq!(world.origin.last().body, b"");
        agent.get(HOST, "/g").await.assert_ok();
        let seen = world.origin.last();
        assert_eq!(
            (seen.header("transfer-encoding"), seen.body.len()),
            (None, 0),
            "a GET gets no body: {seen:#?}"
        );
    }
}

#[tokio::test]
async fn a_chunked_body_goes_on_as_it_comes() {
    let world =
        World::with(Origin::builder(&[HOST]).h1().answer(answer::mirror("text/plain", &[])), &bearer()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    tls.send(b"5\r\nfirst\r\n").await;
    tls.read_until(b"first").await;
    tls.send(b"6\r\nsecond\r\n").await;
    tls.read_until(b"second").await;
    tls.send(b"0\r\n\r\n").await;
    tls.read_until(b"0\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_breaks_off_its_upload_does_not_complete_it() {
    for (down, up) in [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2")] {
        let world = World::with(Origin::builder(&[HOST]).only(up), &bearer()).await;
        let mut client = world.agent().client(down, HOST).await;
        let (sender, body) = h2::channel();
        let request = client.request("POST", "/half").body(body).unwrap();
        {
            let open = client.open(request);
            tokio::pin!(open);
            sender.send(Ok(Frame::data("half".into()))).await.unwrap();
            tokio::select! {
                _ = &mut open => panic!("answered before the body ended"),
                _ = world.origin.wait_requests(1) => {}
            }
        }
        drop(client);
        drop(sender);
        world.proxy.audit().request("/half").await;
        assert!(!world.origin.only().complete, "{down}→{up}: {:?}", world.origin.only());
    }
}

#[tokio::test]
async fn an_early_answer_to_an_upload_reaches_the_client() {
    let answer = answer::with(|_exchange| async {
        http::Response::builder().status(413).body(answer::full("too much")).unwrap()
    });
    for up in ["h1", "h2"] {
        let world = World::with(Origin::builder(&[HOST]).only(up).answer(answer.clone()), &bearer()).await;
        let mut tls = world.agent().tls(HOST).await;
        tls.send(b"POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1000000\r\n\r\nstart").await;
        let reply = tls.read_reply("POST").await;
        assert_eq!((reply.status, reply.text().as_str()), (413, "too much"), "{up}");
    }
}
