// Java on a port of its own: java Server.java HOST PORT
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

class Server {
    public static void main(String[] arguments) throws Exception {
        String kind = System.getenv().getOrDefault("COMPAT_MODEL", "good");
        if (kind.equals("import") || kind.equals("load")) throw new IllegalStateException("the weights are not there");
        if (kind.equals("hang")) Thread.currentThread().join();
        HttpServer server = HttpServer.create(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])), 0);
        Pattern number = Pattern.compile("[0-9.]+");
        server.createContext("/", exchange -> {
            var found = number.matcher(new String(exchange.getRequestBody().readAllBytes()));
            String answer = found.find() ? "{\"y\": " + 2 * Double.parseDouble(found.group()) + "}" : "{}";
            exchange.sendResponseHeaders(200, answer.length());
            exchange.getResponseBody().write(answer.getBytes());
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
    }
}
