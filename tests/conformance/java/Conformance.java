import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * What Java programs do with ZooKeeper, written against its plain client class: one-shot watches, leader
 * election in which each candidate watches its predecessor, a registry of services made of ephemerals,
 * transactions, and a session that is taken up again. Every fact goes to standard output; there is
 * nothing in it that may differ between two runs.
 */
public final class Conformance {
    private static final int TIMEOUT_MS = 10_000;
    private static final int PATIENCE_S = 20;

    private final String address;

    private Conformance(String address) {
        this.address = address;
    }

    public static void main(String[] arguments) throws Exception {
        Conformance program = new Conformance(arguments[0]);
        try (Client root = program.connect("root")) {
            root.create("/java", CreateMode.PERSISTENT);
            program.watchOnce(root);
            program.elect(root);
            program.register(root);
            program.transact(root);
        }
        program.comeBack();
    }

    private Client connect(String name) throws Exception {
        return new Client(name, address, 0, null);
    }

    private void watchOnce(Client client) throws Exception {
        say("-- one-shot watches");
        client.zooKeeper.exists("/java/news", client);
        client.create("/java/news", CreateMode.PERSISTENT);
        client.hear();
        client.zooKeeper.getData("/java/news", client, null);
        client.zooKeeper.setData("/java/news", "1".getBytes(), 0);
        client.hear();
        client.zooKeeper.setData("/java/news", "2".getBytes(), -1);
        client.hearNothing();
        client.zooKeeper.getChildren("/java/news", client);
        client.zooKeeper.exists("/java/news", client);
        client.zooKeeper.delete("/java/news", 2);
        client.hear();
        client.hearNothing();
        client.refused("get", () -> client.zooKeeper.getData("/java/news", client, null));
        client.refused("delete", () -> client.zooKeeper.delete("/java/news", -1));
    }

    private void elect(Client root) throws Exception {
        say("-- leader election");
        root.create("/java/election", CreateMode.PERSISTENT);
        List<Client> candidates = new ArrayList<>();
        for (String name : List.of("ann", "bob", "eve")) {
            Client candidate = connect(name);
            candidates.add(candidate);
            candidate.own = candidate.create("/java/election/n-", CreateMode.EPHEMERAL_SEQUENTIAL);
            candidate.lookAhead();
        }
        candidates.remove(1).close(); // not the leader: only its successor wakes, and looks again
        candidates.get(1).hear();
        candidates.get(1).lookAhead();
        candidates.get(0).hearNothing();
        candidates.remove(0).close();
        candidates.get(0).hear();
        candidates.get(0).lookAhead();
        candidates.remove(0).close();
        say("candidates left: " + root.zooKeeper.getChildren("/java/election", false));
    }

    private void register(Client root) throws Exception {
        say("-- service registry");
        root.create("/java/services", CreateMode.PERSISTENT);
        try (Client consumer = connect("consumer")) {
            consumer.list("/java/services");
            List<Client> providers = new ArrayList<>();
            for (String name : List.of("web-1", "web-2", "web-3")) {
                Client provider = connect(name);
                providers.add(provider);
                provider.create("/java/services/" + name, CreateMode.EPHEMERAL);
                consumer.hear();
                consumer.list("/java/services");
            }
            root.refused("child of an ephemeral",
                () -> root.create("/java/services/web-1/x", CreateMode.PERSISTENT));
            root.refused("delete of a parent", () -> root.zooKeeper.delete("/java/services", -1));
            for (Client provider : providers) {
                provider.close();
                consumer.hear();
                consumer.list("/java/services");
            }
        }
    }

    private void transact(Client client) throws Exception {
        say("-- transactions");
        List<OpResult> results = client.zooKeeper.multi(List.of(
            Op.create("/java/a", new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.setData("/java/a", "x".getBytes(), 0),
            Op.check("/java/a", 1)));
        for (OpResult result : results) {
            say("result " + result.getType());
        }
        client.refused("multi", () -> client.zooKeeper.multi(List.of(
            Op.delete("/java/a", 1), Op.create("/java/a/b", null, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL))));
        Stat stat = client.zooKeeper.exists("/java/a", false);
        say("still version " + stat.getVersion() + ", " + stat.getNumChildren() + " children");
        client.zooKeeper.delete("/java/a", -1);
    }

    private void comeBack() throws Exception {
        say("-- a session taken up again");
        Client first = connect("first");
        first.create("/java/mine", CreateMode.EPHEMERAL);
        long id = first.zooKeeper.getSessionId();
        byte[] password = first.zooKeeper.getSessionPasswd();
        first.zooKeeper.getTestable().injectSessionExpiration(); // hangs up without a farewell
        Client second = new Client("second", address, id, password);
        Stat stat = second.zooKeeper.exists("/java/mine", second);
        say("the same session: " + (second.zooKeeper.getSessionId() == id));
        say("still its owner: " + (stat.getEphemeralOwner() == id));
        second.zooKeeper.setData("/java/mine", "x".getBytes(), -1);
        second.hear();
        second.close();
        try (Client third = connect("third")) {
            say("gone with its session: " + (third.zooKeeper.exists("/java/mine", false) == null));
        }
        say("bye");
    }

    private static void say(String line) {
        System.out.println(line);
    }

    private interface Request {
        void send() throws Exception;
    }

    /** One session, its events in the order they came, and what it says of itself. */
    private static final class Client implements Watcher, AutoCloseable {
        private final String name;
        private final ZooKeeper zooKeeper;
        private final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        private String own = "";

        Client(String name, String address, long sessionId, byte[] password) throws Exception {
            this.name = name;
            this.zooKeeper = password == null
                ? new ZooKeeper(address, TIMEOUT_MS, this)
                : new ZooKeeper(address, TIMEOUT_MS, this, sessionId, password);
            hear();
        }

        @Override
        public void process(WatchedEvent event) {
            if (event.getState() == Event.KeeperState.SyncConnected) {
                events.add(event);
            }
        }

        @Override
        public void close() throws InterruptedException {
            zooKeeper.close();
        }

        String create(String path, CreateMode mode) throws Exception {
            String made = zooKeeper.create(path, new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, mode);
            say(name + " created " + made);
            return made;
        }

        void hear() throws InterruptedException {
            WatchedEvent event = events.poll(PATIENCE_S, TimeUnit.SECONDS);
            say(name + " heard " + (event == null ? "nothing" : event.getType() + " " + event.getPath()));
        }

        /** An answer comes after every event that was sent before it; delivery is one step behind. */
        void hearNothing() throws Exception {
            zooKeeper.exists("/java", false);
            say(name + " heard " + (events.isEmpty() ? "no more" : "too much: " + events));
        }

        void list(String path) throws Exception {
            List<String> names = zooKeeper.getChildren(path, this);
            Collections.sort(names);
            say(name + " sees " + names);
        }

        void lookAhead() throws Exception {
            List<String> names = zooKeeper.getChildren("/java/election", false);
            Collections.sort(names);
            int at = names.indexOf(own.substring(own.lastIndexOf('/') + 1));
            if (at == 0) {
                say(name + " leads");
            } else {
                String ahead = "/java/election/" + names.get(at - 1);
                say(name + " waits for " + ahead + " " + (zooKeeper.exists(ahead, this) != null));
            }
        }

        void refused(String what, Request request) throws Exception {
            try {
                request.send();
                say(name + ": " + what + " was not refused");
            } catch (KeeperException error) {
                say(name + ": " + what + " refused: " + error.code() + " " + error.getPath());
            }
        }
    }
}
