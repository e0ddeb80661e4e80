//! A small web service over two kinds of database and a remote one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Multipart, Path, Query, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use clap::Parser;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sqlx::{MySqlPool, PgPool};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    #[arg(long, env = "POSTGRES", default_value = "postgres://localhost/bench")]
    postgres: String,
    #[arg(long, env = "MYSQL", default_value = "mysql://localhost/bench")]
    mysql: String,
    #[arg(long, default_value = "https://localhost/")]
    upstream: url::Url,
}

#[derive(Clone)]
struct App {
    postgres: PgPool,
    mysql: MySqlPool,
    client: reqwest::Client,
    upstream: Arc<url::Url>,
}

#[derive(Serialize, Deserialize, sqlx::FromRow)]
struct Note {
    id: Uuid,
    text: String,
    at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    offset: i64,
    limit: Option<i64>,
}

struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(e: E) -> Self {
        Failure(e.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = ?self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", self.0)).into_response()
    }
}

async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<Json<Vec<Note>>, Failure> {
    let notes = sqlx::query_as::<_, Note>("select id, text, at from notes order by at limit $1 offset $2")
        .bind(page.limit.unwrap_or(100))
        .bind(page.offset)
        .fetch_all(&app.postgres)
        .await
        .context("notes")?;
    Ok(Json(notes))
}

async fn one(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Response, Failure> {
    let note = sqlx::query_as::<_, Note>("select id, text, at from notes where id = $1").bind(id).fetch_optional(&app.postgres).await?;
    Ok(match note {
        Some(n) => Json(n).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn add(State(app): State<App>, Json(note): Json<Note>) -> Result<StatusCode, Failure> {
    let mut both = app.postgres.begin().await?;
    sqlx::query("insert into notes values ($1, $2, $3)").bind(note.id).bind(&note.text).bind(note.at).execute(&mut *both).await?;
    sqlx::query("insert into log values (?, ?)").bind(note.id).bind(note.at).execute(&app.mysql).await?;
    both.commit().await?;
    Ok(StatusCode::CREATED)
}

async fn upload(State(app): State<App>, mut form: Multipart) -> Result<Json<usize>, Failure> {
    let mut total = 0;
    while let Some(field) = form.next_field().await? {
        let bytes = field.bytes().await?;
        total += bytes.len();
        app.client.post((*app.upstream).clone()).body(bytes).send().await?.error_for_status()?;
    }
    Ok(Json(total))
}

async fn proxy(State(app): State<App>) -> Result<Json<serde_json::Value>, Failure> {
    Ok(Json(app.client.get((*app.upstream).clone()).send().await?.json().await?))
}

async fn socket(ws: WebSocketUpgrade, State(app): State<App>) -> Response {
    ws.on_upgrade(move |s| echo(s, app))
}

async fn echo(mut socket: WebSocket, app: App) {
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let count: Result<(i64,), _> = sqlx::query_as("select count(*) from log where text = ?").bind(text.as_str()).fetch_one(&app.mysql).await;
        let answer = count.map_or_else(|e| e.to_string(), |(n,)| n.to_string());
        if socket.send(Message::Text(answer.into())).await.is_err() {
            return;
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().json().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let options = Options::parse();
    let app = App {
        postgres: PgPool::connect_lazy(&options.postgres)?,
        mysql: MySqlPool::connect_lazy(&options.mysql)?,
        client: reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?,
        upstream: Arc::new(options.upstream),
    };
    let router = Router::new()
        .route("/notes", get(list).post(add))
        .route("/notes/{id}", get(one))
        .route("/files", post(upload))
        .route("/upstream", get(proxy))
        .route("/socket", get(socket))
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(30)))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    axum::serve(listener, router).await?;
    Ok(())
}
