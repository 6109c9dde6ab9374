import AsyncHTTPClient
import Authentication
import Foundation
import NIOCore
import NIOHTTP1

/// Asks providers over HTTP: with bounds on the time and the length of every answer, and following no redirect.
struct ProviderClient: Sendable {
    private let client: HTTPClient
    /// The longest answer: discovery documents and key sets have some kilobytes.
    static let maximumBytes = 1 << 20
    /// How long a call may take, the reading of its answer included.
    static let timeout = Duration.seconds(10)

    init(_ client: HTTPClient) {
        self.client = client
    }

    /// The status and the body of an answer.
    func send(_ request: HTTPClientRequest) async throws(IdentityFault) -> (status: UInt, body: [UInt8]) {
        var request = request
        request.headers.replaceOrAdd(name: "accept", value: "application/json")
        request.headers.replaceOrAdd(name: "user-agent", value: "credit-ledger-gateway")
        let (asked, client) = (request, client)
        do {
            return try await withThrowingTaskGroup(of: (UInt, [UInt8])?.self) { group in
                group.addTask {
                    let response = try await client.execute(asked, timeout: .seconds(10))
                    let body = try await response.body.collect(upTo: Self.maximumBytes)
                    return (response.status.code, Array(body.readableBytesView))
                }
                group.addTask {
                    try await Task.sleep(for: Self.timeout)
                    return nil
                }
                defer { group.cancelAll() }
                guard let first = try await group.next(), let answer = first else {
                    throw IdentityFault.provider("no answer in time")
                }
                return answer
            }
        } catch let fault as IdentityFault {
            throw fault
        } catch is NIOTooManyBytesError {
            throw .provider("the answer is too long")
        } catch {
            // Its text may quote the address with what was in the query.
            throw .provider("cannot be reached")
        }
    }

    func get(_ url: String, bearer: String? = nil) async throws(IdentityFault) -> [UInt8] {
        var request = HTTPClientRequest(url: url)
        if let bearer { request.headers.add(name: "authorization", value: "Bearer \(bearer)") }
        let (status, body) = try await send(request)
        guard status == 200 else { throw .provider("status \(status)") }
        return body
    }

    /// Posts a form (URL Standard, section 5).
    func post(
        _ url: String, form: [(String, String)], basic: (name: String, secret: String)? = nil
    ) async throws(IdentityFault) -> [UInt8] {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/x-www-form-urlencoded")
        if let basic {
            // Name and secret are escaped before they are put together (RFC 6749, section 2.3.1).
            let pair = CallbackList.percentEncoded(basic.name) + ":" + CallbackList.percentEncoded(basic.secret)
            request.headers.add(name: "authorization", value: "Basic " + Data(pair.utf8).base64EncodedString())
        }
        let text = form.map { CallbackList.percentEncoded($0.0) + "=" + CallbackList.percentEncoded($0.1) }
        request.body = .bytes(ByteBuffer(string: text.joined(separator: "&")))
        let (status, body) = try await send(request)
        guard status == 200 else { throw .provider("status \(status)") }
        return body
    }
}

/// A provider that people log in with.
protocol LoginProvider: Sendable {
    var configuration: LoginProviderConfiguration { get }

    /// Where a browser is sent to log in (RFC 6749, section 4.1.1, with RFC 7636).
    func authorizationURL(
        state: String, nonce: String, challenge: String, redirectURI: String
    ) async throws(IdentityFault) -> String

    /// Who it is that came back with a code.
    func claims(
        code: String, verifier: String, nonce: String, redirectURI: String
    ) async throws(IdentityFault) -> ProviderClaims

    /// Who a token of the provider is about, if it was issued to a client of ours.
    func claims(token: String) async throws(IdentityFault) -> ProviderClaims
}

extension LoginProvider {
    func authorizationURL(
        _ endpoint: String, state: String, challenge: String, redirectURI: String, more: [(String, String)] = []
    ) -> String {
        CallbackList.appending(
            [
                ("response_type", "code"), ("client_id", configuration.clientID), ("redirect_uri", redirectURI),
                ("scope", configuration.scopes), ("state", state), ("code_challenge", challenge),
                ("code_challenge_method", "S256"),
            ] + more, to: endpoint)
    }
}
