//! The Model Context Protocol at `POST /mcp`: what an operator may do with plugins, as tools of an assistant.
//!
//! Behind the same token as every other route, and without sessions: each request stands alone and is answered in
//! JSON, so that nothing is kept for a client that went away. A tool is an operation of [`Gateway`] that has a route as
//! well; what it takes and answers is what the OpenAPI document says of that route. What fails is told in the words of
//! the API, with `isError`, so that whoever called can read it.

mod schema;
mod tools;

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::{ApiError, Gateway};
use crate::limits;
use tools::ToolName;

const INSTRUCTIONS: &str = "Operates the plugins of a running Hookway gateway, through which requests to language \
                            models pass. A change happens whole or not at all, while traffic flows; an error says \
                            why nothing changed. plugin_list tells what is there, plugin_executions what it did.";

/// What answers one request.
#[derive(Clone)]
pub(super) struct Tools {
    gateway: Arc<Gateway>,
    tools: Arc<[Tool]>,
}

/// The route's service. `document` is the OpenAPI document of the other routes.
pub(super) fn service(
    gateway: Arc<Gateway>,
    document: &Value,
) -> StreamableHttpService<Tools, NeverSessionManager> {
    let tools = Tools { gateway, tools: tools::all(document) };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        // The guard around all routes has looked at token and host already.
        .disable_allowed_hosts()
        .with_max_request_body_bytes(limits::ADMIN_BODY_BYTES_MAX);
    StreamableHttpService::new(move || Ok(tools.clone()), Arc::default(), config)
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let implementation = Implementation::new("hookway", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(implementation).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = ToolName::parse(&request.name) else {
            let message = format!("There is no tool '{}'.", request.name);
            return Err(ErrorData::new(ErrorCode::INVALID_PARAMS, message, None));
        };
        let arguments = request.arguments.map_or_else(|| json!({}), Value::Object);
        let result = match tool.call(&self.gateway, arguments).await {
            Ok(answer) => CallToolResult::structured(answer),
            Err(error) => failed(&error),
        };
        Ok(result.into())
    }
}

/// The API's error, as text for whoever reads it: its message first, then the rest for looking up.
fn failed(error: &ApiError) -> CallToolResult {
    let body = json!(error.body());
    let details = &body["error"]["details"];
    let mut text = format!("{} ({})", body["error"]["message"].as_str().unwrap_or_default(), error.code());
    if !details.is_null() {
        text += &format!("\n{details:#}");
    }
    CallToolResult::error(vec![ContentBlock::text(text)])
}
