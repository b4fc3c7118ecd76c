// A worker that knows nothing of autohealer: it connects to ZooKeeper, creates /workers/worker_ as an ephemeral
// sequential znode, works (sleeps), and ends at random, sometimes cleanly and sometimes not.
//
// It needs a JDK and ZooKeeper's client, whose jar names what that needs; on Debian or Ubuntu:
//
//     sudo apt-get install -y default-jdk-headless libzookeeper-java libslf4j-java
//     jars=/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar
//
// Compile it once, and have three of it kept alive:
//
//     javac -cp $jars -proc:none -d . examples/java_worker/FlakyWorker.java
//     autohealer 3 --register anonymous -- java -cp .:$jars FlakyWorker
//
// Or run it from its source, which takes a second longer for each launch:
//
//     autohealer 3 --register anonymous -- java -cp $jars examples/java_worker/FlakyWorker.java
//
// It takes, in this order: the ZooKeeper to connect to (default: what AUTOHEALER_ZOOKEEPER says, else
// 127.0.0.1:2181), and for how many seconds it lives at most (default: 60).

import java.util.Random;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

public final class FlakyWorker {
    private static final int SESSION_MS = 4000;
    private static final String WORKERS = "/workers";

    public static void main(String[] words) throws Exception {
        String told = System.getenv().getOrDefault("AUTOHEALER_ZOOKEEPER", "127.0.0.1:2181");
        String servers = words.length > 0 ? words[0] : told;
        double livesAtMostS = words.length > 1 ? Double.parseDouble(words[1]) : 60.0;

        ZooKeeper zooKeeper = connect(servers);
        String znode = register(zooKeeper);
        System.out.println(znode + " is at work");

        Random random = new Random();
        Thread.sleep((long) (1000 * livesAtMostS * random.nextDouble()));
        if (random.nextBoolean()) {
            System.out.println(znode + " has had enough");
            zooKeeper.close();
            System.exit(0);
        }
        System.out.println(znode + " crashes");
        Runtime.getRuntime().halt(1); // its session ends only in time
    }

    /** Wait until there is a session; end when it is lost, because another one has the znode's name no more. */
    private static ZooKeeper connect(String servers) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zooKeeper = new ZooKeeper(servers, SESSION_MS, event -> changed(event, connected));
        connected.await();
        return zooKeeper;
    }

    private static void changed(WatchedEvent event, CountDownLatch connected) {
        if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
            connected.countDown();
        } else if (event.getState() == Watcher.Event.KeeperState.Expired) {
            System.out.println("the session is lost");
            Runtime.getRuntime().halt(2);
        }
    }

    private static String register(ZooKeeper zooKeeper) throws Exception {
        try {
            zooKeeper.create(WORKERS, new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        } catch (KeeperException.NodeExistsException alreadyThere) {
            // as it should be
        }
        String prefix = WORKERS + "/worker_";
        return zooKeeper.create(
                prefix, new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
    }

    private FlakyWorker() {}
}
