import HTTPTypes
import Hummingbird
import Ledger
import LedgerSQLite
import Logging

/// Turns every error into an answer, names the request in it, and writes one line to the log: no body, no query, no credential.
struct GatewayMiddleware: RouterMiddleware {
    typealias Context = GatewayContext
    let logger: Logger
    let routes: RouteTable
    let trustedProxies: Set<String>

    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        var context = context
        if !trustedProxies.isEmpty {
            context.clientAddress = ClientAddress(
                context.channel.remoteAddress, forwardedFor: request.headers[values: .forwardedFor],
                trusted: trustedProxies)
        }
        var response: Response
        do {
            response = try await next(request, context)
        } catch {
            response = self.response(to: error, for: request, context: context)
            // RFC 9110, section 9.3.2.
            if request.method == .head { response = response.createHeadResponse() }
        }
        if response.headers[.requestID] == nil { response.headers[.requestID] = context.requestID.rawValue }
        let elapsed = ContinuousClock.now - start
        logger.info(
            "answered",
            metadata: [
                "request_id": "\(context.requestID)", "method": "\(request.method)", "path": "\(request.uri.path)",
                "status": "\(response.status.code)",
                "head_us":
                    "\(elapsed.components.seconds * 1_000_000 + elapsed.components.attoseconds / 1_000_000_000_000)",
            ])
        return response
    }

    private func response(to error: any Error, for request: Request, context: Context) -> Response {
        let answer: GatewayError
        switch error {
        case let error as GatewayError: answer = error
        case let error as LedgerError: answer = GatewayError(error)
        case DirectoryRefusal.noUser: answer = .userNotFound
        case DirectoryRefusal.noBudget(let id): answer = .budgetNotFound(id)
        case let error as HTTPError where error.status == .notFound:
            answer = routes.refusal(of: request)
        case let error as any HTTPResponseError where error.status.code < 500:
            answer = GatewayError(error.status, "invalid_request", error.status.reasonPhrase)
        default:
            logger.error(
                "a request failed",
                metadata: ["request_id": "\(context.requestID)", "error": "\(String(reflecting: error))"])
            answer = GatewayError(.internalServerError, "internal_error", "Internal server error")
        }
        return answer.response(ErrorShape(path: request.uri.path))
    }
}

/// Lets the desktop's web view and configured origins use the gateway from a browser.
struct GatewayCORS: RouterMiddleware {
    typealias Context = GatewayContext
    let origins: Set<String>

    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin], origins.contains(origin) || origins.contains("*") else {
            return try await next(request, context)
        }
        var response: Response
        if request.method == .options {
            response = Response(status: .noContent)
            response.headers[.accessControlAllowMethods] = "GET, POST, PATCH, DELETE, OPTIONS"
            response.headers[.accessControlAllowHeaders] =
                "x-anyllm-key, authorization, content-type, idempotency-key, x-stainless-os, x-stainless-arch, "
                + "x-stainless-lang, x-stainless-runtime, x-stainless-runtime-version, x-stainless-package-version, "
                + "x-stainless-retry-count, x-stainless-timeout, x-api-key, anthropic-version, anthropic-beta, "
                + "anthropic-dangerous-direct-browser-access"
            response.headers[.accessControlMaxAge] = "600"
        } else {
            response = try await next(request, context)
        }
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.accessControlAllowCredentials] = "true"
        response.headers[.accessControlExposeHeaders] =
            "x-request-id, x-ledger-charged-credits, x-ledger-balance-credits, idempotency-replayed, x-dropped-parameters, "
            + "retry-after"
        response.headers[.vary] = "Origin"
        return response
    }
}
