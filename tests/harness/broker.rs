use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{PATIENCE, eventually};

/// One message as received from the broker.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    /// The envelope.
    pub(crate) body: Value,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Arrival {
    /// The notification within the envelope: JSON within JSON.
    pub(crate) fn notification(&self) -> Value {
        let text = self.body["oslo.message"].as_str().expect("oslo.message is text");
        serde_json::from_str(text).unwrap()
    }

    /// The stream and the sequence number assigned by the agent.
    pub(crate) fn number(&self) -> (String, i64) {
        let headers = self.properties.headers().as_ref().expect("headers").inner();
        let value = |name: &str| &headers[name];
        let AMQPValue::LongString(stream) = value("nephometer-stream") else { panic!("no text") };
        let AMQPValue::LongLongInt(number) = value("nephometer-sequence") else {
            panic!("no number")
        };
        (stream.to_string(), *number)
    }

    /// The value of a header that is text.
    pub(crate) fn header(&self, name: &str) -> String {
        let headers = self.properties.headers().as_ref().expect("headers").inner();
        match headers.get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("the header {name} is {other:?}"),
        }
    }

    /// Whether it is a record of its stream, and so without samples.
    pub(crate) fn is_record(&self) -> bool {
        self.body["oslo.message"].as_str().is_some_and(|text| text.contains("\"nephometer\":"))
    }

    /// Its metering messages.
    pub(crate) fn samples(&self) -> Vec<Value> {
        self.notification()["payload"].as_array().expect("payload is a list").clone()
    }
}

/// Consumes the queue of a topic. Declares nothing, so that an arriving message proves what the
/// agent has declared. Reconnects whenever the broker is back.
pub(crate) struct Consumer {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    _runtime: Runtime,
}

impl Consumer {
    pub(crate) fn new(url: &str, topic: &str) -> Self {
        Self::with(url, topic, true)
    }

    /// A consumer that acknowledges. If the broker dies, no message of a durable queue is lost in
    /// transit, but some arrive twice.
    pub(crate) fn acknowledging(url: &str, topic: &str) -> Self {
        Self::with(url, topic, false)
    }

    fn with(url: &str, topic: &str, no_ack: bool) -> Self {
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let runtime = runtime();
        let (url, queue, sink) = (url.to_owned(), format!("{topic}.sample"), Arc::clone(&arrivals));
        runtime.spawn(async move {
            loop {
                // The broker or its queue does not exist yet: try again.
                drop(consume(&url, &queue, no_ack, &sink).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { arrivals, _runtime: runtime }
    }

    /// The messages received so far, without the records of streams.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = self.all();
        arrivals.retain(|arrival| !arrival.is_record());
        arrivals
    }

    /// All messages received so far.
    pub(crate) fn all(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }

    /// The samples received so far, in order of arrival.
    pub(crate) fn samples(&self) -> Vec<Value> {
        self.arrivals().iter().flat_map(Arrival::samples).collect()
    }

    /// Waits until `enough` accepts the messages received so far.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        enough: impl Fn(&[Arrival]) -> bool,
    ) -> Vec<Arrival> {
        eventually(what, PATIENCE, || {
            let arrivals = self.arrivals();
            enough(&arrivals).then_some(arrivals)
        })
    }

    /// Waits until this many messages have been received in total.
    pub(crate) fn wait_for(&self, total: usize) -> Vec<Arrival> {
        self.wait_until(&format!("{total} messages"), |arrivals| arrivals.len() >= total)
    }
}

async fn consume(
    url: &str,
    queue: &str,
    no_ack: bool,
    arrivals: &Mutex<Vec<Arrival>>,
) -> Result<(), lapin::Error> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    let mut consumer =
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        let body = serde_json::from_slice(&delivery.data)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&delivery.data).into()));
        arrivals.lock().unwrap().push(Arrival {
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            properties: delivery.properties.clone(),
            body,
            bytes: delivery.data.clone(),
        });
        if !no_ack {
            delivery.ack(BasicAckOptions::default()).await?;
        }
    }
    Ok(())
}

/// Runs an operation on a channel of its own.
pub(crate) fn at_broker<F: Future<Output = Result<(), lapin::Error>>>(
    url: &str,
    change: impl FnOnce(lapin::Channel) -> F,
) {
    let done: Result<(), lapin::Error> = runtime().block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        change(connection.create_channel().await?).await
    });
    done.unwrap();
}

/// Declares Ceilometer's exchange and the queue of a topic with this durability. The broker rejects
/// a declaration that differs from the existing one.
pub(crate) fn declare(url: &str, topic: &str, durable: bool) -> Result<(), lapin::Error> {
    runtime().block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let table = FieldTable::default;
        channel
            .exchange_declare("ceilometer".into(), ExchangeKind::Topic, options, table())
            .await?;
        let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(format!("{topic}.sample").into(), options, table()).await?;
        Ok(())
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
