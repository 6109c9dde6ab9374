// swift-tools-version: 6.3
import PackageDescription

// A package of its own, so that nothing of it is in the server's dependency graph. `make fuzz` builds and runs it.
let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "credit-ledger", path: "..")],
    targets: [
        .executableTarget(
            name: "MeterFuzz",
            dependencies: [
                .product(name: "Metering", package: "credit-ledger"),
                .product(name: "Translation", package: "credit-ledger"),
                .product(name: "Ledger", package: "credit-ledger"),
            ],
            // libFuzzer brings the main function.
            swiftSettings: [.unsafeFlags(["-parse-as-library"])])
    ],
    swiftLanguageModes: [.v6]
)
