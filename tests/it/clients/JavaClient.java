// URL: both of the JDK's clients, as they are; prints the client, the status and the body of each.
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;

public class JavaClient {
    public static void main(String[] arguments) throws Exception {
        URI uri = URI.create(arguments[0]);
        String dummy = "Bearer " + System.getenv("API_TOKEN");

        HttpRequest request = HttpRequest.newBuilder(uri).header("Authorization", dummy).build();
        HttpResponse<String> answer =
            HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println("HttpClient " + answer.statusCode() + " " + answer.body());

        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        connection.setRequestProperty("Authorization", dummy);
        int status = connection.getResponseCode();
        InputStream body = status < 400 ? connection.getInputStream() : connection.getErrorStream();
        System.out.println(
            connection.getClass().getSimpleName() + " " + status + " "
                + new String(body.readAllBytes(), StandardCharsets.UTF_8));
    }
}
