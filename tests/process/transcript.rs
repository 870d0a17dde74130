//! The original transcript of requests, end to end.

use jsonwebtoken::{Algorithm, dangerous::insecure_decode};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::server::{STORES, Server};

/// Sends JSON like `curl -d`, which declares it as a form.
fn curl_d(client: &Client, path: &str, body: &str) -> Answer {
    client.post_as(path, "application/x-www-form-urlencoded", body.as_bytes()).unwrap()
}

/// The fields of a message in the transcript.
fn shown(message: &Value) -> Value {
    let field = |name: &str| message[name].clone();
    json!({
        "id": field("id"),
        "from_user": field("from_user"),
        "to_user": field("to_user"),
        "text": field("text"),
    })
}

fn log_in(client: &Client, path: &str, body: &str) -> Client {
    let answer = curl_d(client, path, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(3600)));
    client.clone().with_token(body["token"].as_str().unwrap())
}

#[test]
fn the_transcript_works() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        play(&Client::new(&server));
    }
}

fn play(nobody: &Client) {
    // Users 1 and 2 exist already, through the aliases; the general chat holds four messages.
    let first = r#"{"username": "User1", "password": "111"}"#;
    assert_eq!(curl_d(nobody, "/users/register", first).json(), json!({"id": 1}));
    let second = r#"{"username": "User2", "password": "111"}"#;
    assert_eq!(curl_d(nobody, "/users/register", second).json(), json!({"id": 2}));
    let user1 = log_in(nobody, "/users/login", first);
    let texts = ["hello all", "im User1", "привет всем", "👋🏽 שלום"];
    for (n, text) in texts.iter().enumerate() {
        assert_eq!(user1.say(text), n as u64);
    }

    let credentials = r#"{"username": "test1", "password": "111"}"#;
    let answer = curl_d(nobody, "/register", credentials);
    assert_eq!((answer.status, answer.json()), (201, json!({"id": 3})));
    assert_eq!(answer.header("Location"), Some("/api/users/3"));
    let test1 = log_in(nobody, "/login", credentials);
    check_token(test1.token(), 3);

    let answer = test1.get("/api/messages");
    assert_eq!(answer.status, 200);
    let messages = answer.items();
    let expected: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| json!({"id": n, "from_user": 1, "to_user": 0, "text": text}))
        .collect();
    assert_eq!(messages.iter().map(shown).collect::<Vec<_>>(), expected);
    let head = br#"[{"id":0,"from_user":1,"to_user":0,"text":"hello all","sent_at":""#;
    assert!(answer.body.starts_with(head), "the order of the fields: {answer:?}");

    let answer = curl_d(&test1, "/api/messages", r#"{"text":"test text"}"#);
    assert_eq!((answer.status, answer.json()), (201, json!({"status": "ok", "id": 4})));
    assert_eq!(answer.header("Location"), Some("/api/messages/4"));

    let fourth = r#"{"username": "test2", "password": "111"}"#;
    assert_eq!(curl_d(nobody, "/register", fourth).json(), json!({"id": 4}));
    let test2 = log_in(nobody, "/login", fourth);
    assert_eq!(test2.say("one more"), 5);
    for id in [6, 7] {
        let private = r#"{"to_user":4, "text":"private message1"}"#;
        let answer = curl_d(&test1, "/api/users/4/messages", private);
        assert_eq!((answer.status, answer.json()), (201, json!({"status": "ok", "id": id})));
    }
    let received = |id| json!({"id": id, "from_user": 3, "to_user": 4, "text": "private message1"});
    for path in ["/api/users/me/messages", "/api/users/4/messages"] {
        let messages = test2.get(path).items();
        assert_eq!(messages.iter().map(shown).collect::<Vec<_>>(), [received(6), received(7)]);
    }
    for path in ["/api/users/4/messages", "/api/messages/6"] {
        assert_eq!(user1.get(path).problem(), "forbidden", "{path}");
    }
    assert_eq!(user1.get("/api/users/me/messages").items(), Vec::<Value>::new());
}

fn check_token(token: &str, user: u64) {
    let token = insecure_decode::<Value>(token).unwrap();
    assert_eq!(token.header.alg, Algorithm::HS256);
    assert_eq!(token.header.typ.as_deref(), Some("JWT"));
    let claim = |name: &str| token.claims[name].as_u64().unwrap();
    assert_eq!(claim("UserID"), user);
    assert_eq!(claim("exp") - claim("iat"), 3600);
}

/// One answer for both, to the byte; `cargo bench --bench http -- --logins` measures that it takes
/// the same time.
#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let client = Client::new(&server);
        client.clone().sign_up("ann");
        let ask = |username: &str| {
            let body = crate::client::credentials(username, "wrong");
            client.post("/login", &body)
        };
        // One name that is valid, and one that is not.
        for nobody in ["bob", "no name!"] {
            let (wrong, unknown) = (ask("ann"), ask(nobody));
            assert_eq!(wrong.problem(), "wrong-credentials");
            assert_eq!(wrong.status, 401);
            assert_eq!(wrong.status, unknown.status);
            assert_eq!(wrong.body, unknown.body);
            assert_eq!(wrong.lasting_headers(), unknown.lasting_headers());
            assert!(wrong.header("WWW-Authenticate").is_some_and(|it| it.starts_with("Bearer")));
        }
    }
}
