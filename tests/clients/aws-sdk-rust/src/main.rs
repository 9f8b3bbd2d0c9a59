//! WHAT: a journey with the AWS SDK for Rust as it comes, with the dummies of the environment; prints a line for each thing that worked.
//!
//! Nothing is configured but the region: proxy, roots and keys are what the environment says.

use std::error::Error;
use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const BUCKET: &str = "acme";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let what = std::env::args().nth(1).ok_or("WHAT is missing")?;
    let config =
        aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-west-1")).load().await;
    let ended = match what.as_str() {
        "objects" => objects(&config).await,
        "parts" => parts(&config).await,
        "streams" => streams(&config).await,
        "services" => services(&config).await,
        "refusals" => refusals(&config).await,
        other => Err(format!("{other}: no such journey").into()),
    };
    // An SDK's error says nothing of its cause by itself.
    ended.map_err(|error| DisplayErrorContext(error.as_ref()).to_string().into())
}

async fn read(s3: &aws_sdk_s3::Client, key: &str) -> Outcome<Vec<u8>> {
    Ok(s3.get_object().bucket(BUCKET).key(key).send().await?.body.collect().await?.to_vec())
}

async fn objects(config: &SdkConfig) -> Outcome {
    let s3 = aws_sdk_s3::Client::new(config);
    let unicode: Vec<u8> = (0..76_800_u32).map(|n| (n % 256) as u8).collect();
    let bodies: [(&str, &[u8]); 5] = [
        ("plain.txt", b"hello"),
        ("empty", b""),
        ("a folder/with spaces + plus.txt", b"spaces"),
        ("unicode/\u{e4}\u{1234}.bin", &unicode),
        ("dots/..hidden/a.b..c", b"dots"),
    ];
    for (key, body) in bodies {
        let put = s3.put_object().bucket(BUCKET).key(key).metadata("m", "x  y");
        put.body(ByteStream::from(body.to_vec())).send().await?;
        assert!(read(&s3, key).await? == body, "{key}");
        let head = s3.head_object().bucket(BUCKET).key(key).send().await?;
        assert_eq!(head.content_length(), Some(body.len() as i64), "{key}");
    }
    println!("put get head");
    let listed = s3.list_objects_v2().bucket(BUCKET).send().await?;
    let keys: Vec<_> = listed.contents().iter().filter_map(|entry| entry.key()).collect();
    assert!(bodies.iter().all(|(key, _)| keys.contains(key)), "{keys:?}");
    s3.copy_object().bucket(BUCKET).key("copy").copy_source("acme/plain.txt").send().await?;
    assert_eq!(read(&s3, "copy").await?, b"hello");
    s3.delete_object().bucket(BUCKET).key("copy").send().await?;
    let gone = s3
        .get_object()
        .bucket(BUCKET)
        .key("copy")
        .send()
        .await
        .map(|_| ())
        .map_err(|error| error.into_service_error());
    assert!(gone.is_err_and(|error| error.is_no_such_key()));
    println!("list copy delete");
    Ok(())
}

async fn parts(config: &SdkConfig) -> Outcome {
    const PART: usize = 5 << 20;
    let s3 = aws_sdk_s3::Client::new(config);
    let begun = s3.create_multipart_upload().bucket(BUCKET).key("a b/multi").send().await?;
    let upload = begun.upload_id().ok_or("no upload id")?;
    let mut done = CompletedMultipartUpload::builder();
    for (number, size) in [(1, PART), (2, 1000)] {
        let part = s3.upload_part().bucket(BUCKET).key("a b/multi").upload_id(upload).part_number(number);
        let sent = part.body(ByteStream::from(vec![7; size])).send().await?;
        let tag = sent.e_tag().ok_or("no tag")?;
        done = done.parts(CompletedPart::builder().part_number(number).e_tag(tag).build());
    }
    let complete = s3.complete_multipart_upload().bucket(BUCKET).key("a b/multi").upload_id(upload);
    complete.multipart_upload(done.build()).send().await?;
    assert!(read(&s3, "a b/multi").await? == vec![7; PART + 1000]);
    println!("parts");
    Ok(())
}

/// A file is a body that the SDK does not hold: it is sent in chunks, and its checksum follows in a trailer.
async fn streams(config: &SdkConfig) -> Outcome {
    let s3 = aws_sdk_s3::Client::new(config);
    let path = PathBuf::from("streamed.bin");
    for size in [0, 300_000, 12 << 20] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
        tokio::fs::write(&path, &bytes).await?;
        s3.put_object()
            .bucket(BUCKET)
            .key("streamed")
            .body(ByteStream::from_path(&path).await?)
            .send()
            .await?;
        assert!(read(&s3, "streamed").await? == bytes, "{size}");
    }
    println!("streamed");
    Ok(())
}

async fn services(config: &SdkConfig) -> Outcome {
    let queues = aws_sdk_sqs::Client::new(config);
    let made = queues.create_queue().queue_name("q").send().await?;
    let url = made.queue_url().ok_or("no address of the queue")?;
    assert!(url.starts_with("https://"), "{url}");
    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/q";
    queues.send_message().queue_url(url).message_body("m + \u{e4}").send().await?;
    let received = queues.receive_message().queue_url(url).send().await?;
    assert_eq!(received.messages().first().and_then(|message| message.body()), Some("m + \u{e4}"));
    let caller = aws_sdk_sts::Client::new(config).get_caller_identity().send().await?;
    println!("services {}", caller.arn().unwrap_or_default());
    Ok(())
}

async fn refusals(config: &SdkConfig) -> Outcome {
    let s3 = aws_sdk_s3::Client::new(config);
    let refused = s3.delete_bucket().bucket(BUCKET).send().await.expect_err("it is not allowed");
    println!(
        "refused {} {}",
        refused.code().unwrap_or("?"),
        refused.raw_response().map_or(0, |answer| answer.status().as_u16())
    );
    let refused = s3.get_object().bucket("evil").key("a").send().await.expect_err("it is out of scope");
    println!(
        "refused {} {}",
        refused.code().unwrap_or("?"),
        refused.raw_response().map_or(0, |answer| answer.status().as_u16())
    );
    Ok(())
}
