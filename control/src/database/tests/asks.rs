//! Approvals: given out once, for exactly what was asked, under the document that it was asked under, to a token that is alive.

use crate::approval::tests::{CHANGES, binding};
use crate::approval::{Answer, Asked, Binding, Decision, Kept, LIFE, OPEN_MAX, State};
use crate::registry::{Act, DocumentKind, ObjectKind, Registry, RegistryError, Seen};

use super::bed::{ANY, Bed, agent, all, noon, object, provider};
use super::on_both;

on_both!(
    refuses_to_decide_what_is_missing_stale_used_or_over,
    an_approval_for_once_is_given_to_one_request_however_many_ask_at_once,
    an_approval_is_given_to_nothing_else_than_was_asked,
    a_change_of_the_document_voids_the_approval,
    an_agent_that_is_revoked_or_made_anew_has_no_approval,
    a_question_is_asked_once_and_ends,
    a_denial_is_remembered_and_counts_more_than_an_approval_of_many,
    an_agent_has_so_many_open_questions_and_no_more,
    an_approval_for_a_time_holds_until_its_end,
    what_is_kept_of_a_body_goes_with_the_decision_or_the_end,
);

const ONCE: Decision = Decision::Once { any_body: false };

fn at(seconds: i64) -> i64 {
    noon().unix_timestamp() + seconds
}

async fn ask(bed: &Bed, binding: &Binding, seconds: i64) -> Answer {
    bed.db.ask(binding, "1-1".into(), at(seconds)).await.unwrap()
}

async fn opened(bed: &Bed, binding: &Binding) -> String {
    let Answer::Open { id, expires } = ask(bed, binding, 0).await else { panic!("no question") };
    assert_eq!(expires, at(LIFE));
    id
}

async fn decide(bed: &Bed, id: &str, decision: Decision) {
    bed.db.decide_ask("one", id, (decision, "ann"), ANY, Act::at(at(1))).await.unwrap();
}

fn granted(answer: &Answer) -> bool {
    matches!(answer, Answer::Granted(_))
}

async fn refuses_to_decide_what_is_missing_stale_used_or_over(bed: &Bed) {
    let id = opened(bed, &binding()).await;
    let db = &bed.db;
    let decide = async |project: &'static str, seen, seconds| {
        db.decide_ask(project, &id, (ONCE, "ann"), seen, Act::at(at(seconds))).await
    };
    assert!(matches!(decide("two", ANY, 0).await, Err(RegistryError::Missing(_))));
    assert!(matches!(decide("one", Seen::Version(1), 0).await, Err(RegistryError::Stale { .. })));
    assert!(matches!(decide("one", ANY, LIFE).await, Err(RegistryError::Over(_))));
    let row = db.asked("one", &id).await.unwrap().unwrap();
    assert_eq!((row.state, row.decided.clone(), row.request.as_str()), (State::Open, None, "1-1"));
    assert_eq!(row.binding, binding());
    let after = decide("one", Seen::Version(row.version), 0).await.unwrap();
    assert_eq!((after.state, after.decided), (State::Once, Some((at(0), "ann".to_owned()))));
    assert!(granted(&ask(bed, &binding(), 1).await));
    assert!(matches!(decide("one", ANY, 2).await, Err(RegistryError::Over(_))));
    assert!(db.asks("two", all()).await.unwrap().is_empty());
    let (rows, _) = db.changes(Some("one"), 0, 100).await.unwrap();
    let told = rows.iter().filter(|row| row.object == Some(object(ObjectKind::Ask, &id))).count();
    assert_eq!(told, 3, "asked, approved, used");
}

async fn an_approval_for_once_is_given_to_one_request_however_many_ask_at_once(bed: &Bed) {
    let id = opened(bed, &binding()).await;
    decide(bed, &id, ONCE).await;
    // Of another server on the same database as well.
    let other = bed.again().await;
    let asking = (0..12).map(|number| {
        let db = if number % 2 == 0 { bed.db.clone() } else { other.clone() };
        tokio::spawn(async move { db.ask(&binding(), "1-2".into(), at(2)).await.unwrap() })
    });
    let asking: Vec<_> = asking.collect();
    let mut given = 0;
    for one in asking {
        given += u32::from(granted(&one.await.unwrap()));
    }
    assert_eq!(given, 1);
    // It is not used again: what comes next is another question.
    let Answer::Open { id: next, .. } = ask(bed, &binding(), 3).await else { panic!("used twice") };
    assert_ne!(next, id);
    assert_eq!(bed.db.asked("one", &id).await.unwrap().unwrap().state, State::Used);
}

async fn an_approval_is_given_to_nothing_else_than_was_asked(bed: &Bed) {
    for any_body in [false, true] {
        let id = opened(bed, &binding()).await;
        decide(bed, &id, Decision::Until { until: at(600), any_body }).await;
        for (number, change) in CHANGES.iter().enumerate() {
            let mut other = binding();
            change(&mut other);
            let answer = ask(bed, &other, 2).await;
            assert_eq!(granted(&answer), any_body && number >= 13, "{number}: {answer:?}");
        }
        assert!(granted(&ask(bed, &binding(), 2).await));
        decide(bed, &id, Decision::Settled).await;
        bed.db.add_agent("one", agent("coder"), Act::at(at(3))).await.unwrap();
        bed.db.delete_agent("one", "coder", ANY, Act::at(at(4))).await.unwrap();
    }
}

async fn a_change_of_the_document_voids_the_approval(bed: &Bed) {
    bed.db.add_document("one", provider("gh", &[], &[]), Act::at(at(0))).await.unwrap();
    let id = opened(bed, &binding()).await;
    let late = opened(bed, &{
        let mut other = binding();
        other.path = "/other".into();
        other
    })
    .await;
    decide(bed, &id, ONCE).await;
    bed.db.replace_document("one", provider("gh", &[], &[]), ANY, Act::at(at(2))).await.unwrap();
    let answer = ask(bed, &binding(), 3).await;
    assert!(matches!(&answer, Answer::Open { id: next, .. } if *next != id), "{answer:?}");
    let refused = bed.db.decide_ask("one", &late, (ONCE, "ann"), ANY, Act::at(at(3))).await;
    assert!(
        matches!(refused, Err(RegistryError::Over(_))),
        "nobody approves what was asked under other rules"
    );
    bed.db.delete_document("one", DocumentKind::Provider, "gh", ANY, Act::at(at(4))).await.unwrap();
    assert!(!granted(&ask(bed, &binding(), 5).await));
}

async fn an_agent_that_is_revoked_or_made_anew_has_no_approval(bed: &Bed) {
    bed.db.add_agent("one", agent("coder"), Act::at(at(0))).await.unwrap();
    for end in ["revoke", "delete"] {
        let id = opened(bed, &binding()).await;
        decide(bed, &id, Decision::Until { until: at(600), any_body: true }).await;
        assert!(granted(&ask(bed, &binding(), 2).await));
        match end {
            "revoke" => drop(bed.db.revoke_agent("one", "coder", ANY, Act::at(at(3))).await.unwrap()),
            _ => bed.db.delete_agent("one", "coder", ANY, Act::at(at(3))).await.unwrap(),
        }
        assert!(!granted(&ask(bed, &binding(), 4).await), "{end}");
        assert!(bed.db.asked("one", &id).await.unwrap().is_none());
        for row in bed.db.asks("one", all()).await.unwrap() {
            decide(bed, &row.id, Decision::Settled).await;
        }
    }
}

async fn a_question_is_asked_once_and_ends(bed: &Bed) {
    let id = opened(bed, &binding()).await;
    let before = bed.db.latest().await.unwrap();
    for _ in 0..3 {
        let answer = ask(bed, &binding(), 5).await;
        assert!(matches!(&answer, Answer::Open { id: same, .. } if *same == id), "{answer:?}");
    }
    assert_eq!(bed.db.latest().await.unwrap(), before, "who asks again writes nothing");
    // Another body is another question.
    let mut other = binding();
    other.body.0[0] ^= 1;
    assert!(matches!(ask(bed, &other, 5).await, Answer::Open { id: next, .. } if next != id));
    let answer = ask(bed, &binding(), LIFE).await;
    assert!(matches!(&answer, Answer::Open { id: next, .. } if *next != id), "{answer:?}");
    // An approval that nobody used ends as well.
    let Answer::Open { id, .. } = answer else { unreachable!() };
    bed.db.decide_ask("one", &id, (ONCE, "ann"), ANY, Act::at(at(LIFE + 1))).await.unwrap();
    assert!(!granted(&ask(bed, &binding(), 2 * LIFE + 1).await));
}

async fn a_denial_is_remembered_and_counts_more_than_an_approval_of_many(bed: &Bed) {
    let id = opened(bed, &binding()).await;
    decide(bed, &id, Decision::Deny).await;
    let denied = |answer: &Answer| matches!(answer, Answer::Denied { until, .. } if *until == at(1 + LIFE));
    assert!(denied(&ask(bed, &binding(), 2).await));
    let mut other = binding();
    other.body.0[0] ^= 1;
    let all_bodies = opened(bed, &other).await;
    decide(bed, &all_bodies, Decision::Until { until: at(2 * LIFE), any_body: true }).await;
    assert!(granted(&ask(bed, &other, 3).await));
    assert!(denied(&ask(bed, &binding(), 3).await));
    assert!(granted(&ask(bed, &binding(), 1 + LIFE).await), "a denial ends");
}

async fn an_agent_has_so_many_open_questions_and_no_more(bed: &Bed) {
    let one = |number: u64| {
        let mut one = binding();
        one.path = format!("/{number}");
        one
    };
    for number in 0..OPEN_MAX {
        opened(bed, &one(number)).await;
    }
    let before = bed.db.latest().await.unwrap();
    assert!(matches!(ask(bed, &one(OPEN_MAX), 0).await, Answer::Full));
    assert_eq!(bed.db.latest().await.unwrap(), before);
    assert!(matches!(ask(bed, &one(0), 0).await, Answer::Open { .. }), "those that are open are found");
    let mut other = one(OPEN_MAX);
    other.agent = "other".into();
    opened(bed, &other).await;
    assert!(matches!(ask(bed, &one(OPEN_MAX), LIFE).await, Answer::Open { .. }), "they end");
}

async fn an_approval_for_a_time_holds_until_its_end(bed: &Bed) {
    let id = opened(bed, &binding()).await;
    decide(bed, &id, Decision::Until { until: at(600), any_body: false }).await;
    for seconds in [2, 599] {
        let Answer::Granted(grant) = ask(bed, &binding(), seconds).await else { panic!("{seconds}") };
        assert_eq!(grant.id(), id);
        assert!(grant.covers(&binding(), at(599)) && !grant.covers(&binding(), at(600)));
    }
    assert!(!granted(&ask(bed, &binding(), 600).await));
}

async fn what_is_kept_of_a_body_goes_with_the_decision_or_the_end(bed: &Bed) {
    let kept = Kept(b"the beginning".to_vec());
    let asking = async |binding: &Binding, seconds| {
        let asked = Asked { request: "1-1", preview: Some(&kept) };
        let answer = bed.db.ask(binding, asked, at(seconds)).await.unwrap();
        let Answer::Open { id, .. } = answer else { panic!("{answer:?}") };
        id
    };
    let row = async |id: &str| bed.db.asked("one", id).await.unwrap().unwrap();
    for decision in [ONCE, Decision::Until { until: at(600), any_body: false }, Decision::Deny] {
        let id = asking(&binding(), 0).await;
        let open = row(&id).await;
        assert_eq!(open.open_preview(at(1)), Some(&kept));
        assert_eq!(open.open_preview(at(LIFE)), None, "it is over");
        decide(bed, &id, decision).await;
        assert_eq!(row(&id).await.preview, None, "{decision:?}");
        bed.db.add_agent("one", agent("coder"), Act::at(at(3))).await.unwrap();
        bed.db.delete_agent("one", "coder", ANY, Act::at(at(4))).await.unwrap();
    }
    let id = asking(&binding(), 0).await;
    let other = Binding { path: "/other".into(), ..binding() };
    asking(&other, LIFE - 1).await;
    assert_eq!(row(&id).await.preview, Some(kept.clone()));
    let third = Binding { path: "/third".into(), ..binding() };
    asking(&third, LIFE).await;
    assert_eq!(row(&id).await.preview, None, "the next question takes it away");
}
