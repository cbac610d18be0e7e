"""oslo.py FOLDER: what oslo.messaging makes of each NAME.conf in FOLDER, as one JSON object for all of them.

The version on sys.path decides: brokers, TLS, queues, exchange and topics, or the error. Nothing is connected."""

import collections
import collections.abc
import json
import logging
import pathlib
import random
import sys

# Versions of Python 2 look for these where they were then.
for name in ("Mapping", "MutableMapping", "Iterable", "Callable"):
    setattr(collections, name, getattr(collections.abc, name))

import kombu.utils.url
import oslo_messaging
from oslo_config import cfg
from oslo_messaging._drivers import impl_rabbit

try:
    from oslo_messaging._drivers.common import PURPOSE_SEND
except ImportError:
    from oslo_messaging._drivers.amqp import PURPOSE_SEND

logging.disable(logging.CRITICAL)


class Connection(impl_rabbit.Connection):
    """The driver's connection before it connects."""

    def ensure_connection(self):
        pass

    def set_transport_socket_timeout(self, timeout=None):
        pass

    def _set_current_channel(self, new_channel):
        pass

    def _heartbeat_start(self):
        pass


def broker(url):
    """The parts of a URL with the defaults of kombu."""
    parts = kombu.utils.url.parse_url(url)
    return [parts["userid"] or "guest", parts["password"] or "guest", parts["hostname"], parts["port"], parts["virtual_host"] or "/"]


def answer(path):
    conf = cfg.ConfigOpts()
    conf([], project="ceilometer", default_config_files=[str(path)])
    oslo_messaging.set_transport_defaults("ceilometer")
    transport_for = getattr(oslo_messaging, "get_notification_transport", oslo_messaging.get_transport)
    transport = transport_for(conf)
    oslo_messaging.Notifier(transport, driver="noop", publisher_id="ceilometer.polling")
    try:
        topics = conf.oslo_messaging_notifications.topics
    except cfg.NoSuchOptError:
        topics = conf.notification_topics
    pool = transport._driver._connection_pool
    connection = Connection(pool.conf, pool.url, PURPOSE_SEND)
    tls = connection.connection.ssl
    if isinstance(tls, dict):
        tls = [tls.get(key) for key in ("ca_certs", "certfile", "keyfile")]
    elif tls:
        tls = [None, None, None]
    quorum = getattr(connection, "rabbit_quorum_queue", False)
    durable = connection.amqp_durable_queues
    return {
        "brokers": [broker(url) for url in connection._url.split(";")],
        "tls": tls or None,
        "queues": "quorum" if quorum else "durable" if durable else "transient",
        "exchange": conf.control_exchange,
        "topics": topics,
    }


def main():
    # Hosts stay in the order of the file.
    random.shuffle = lambda hosts: None
    answers = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.conf")):
        try:
            answers[path.name] = answer(path)
        except (Exception, SystemExit) as error:
            answers[path.name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answers))


main()
