import ArgumentParser
import Foundation
import Logging

@main
struct LedgerServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "LedgerServer", abstract: "The credit ledger of an LLM gateway.", version: HealthRoutes.version,
        subcommands: [Serve.self, ImportOldGateway.self, Backup.self, GenerateKey.self])
}

/// `LedgerServer serve`
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve the gateway until SIGTERM or SIGINT.",
        discussion: """
            Example: LedgerServer serve --config gateway.yaml --port 8000

            Exit codes: 0 stopped by a signal, 1 it could not start or go on, 64 wrong arguments.
            """)

    @Option(help: "The YAML file of the configuration.")
    var config: String

    @Option(help: "The address to listen on; wins over the file.")
    var host: String?

    @Option(help: "The port to listen on, 0 for any; wins over the file.")
    var port: Int?

    @Option(help: "sqlite:///path/to/ledger.sqlite; wins over the file.")
    var databaseURL: String?

    @Option(help: "trace, debug, info, notice, warning or error.")
    var logLevel = "info"

    func run() async throws {
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw ValidationError("--log-level must be trace, debug, info, notice, warning or error")
        }
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        let logger = Logger(label: "gateway")
        do {
            let yaml: String
            do {
                yaml = try String(contentsOfFile: config, encoding: .utf8)
            } catch {
                throw ConfigurationError("the file \(config) cannot be read")
            }
            let configuration = try ServerConfiguration(
                yaml: yaml, environment: ProcessInfo.processInfo.environment, host: host, port: port,
                databaseURL: databaseURL)
            try await Gateway(configuration, logger: logger).run()
        } catch let error as ConfigurationError {
            throw Refused(description: "\(config): \(error)")
        }
    }
}

/// A start that was refused, with the reason for people.
private struct Refused: Error, CustomStringConvertible {
    let description: String
}
